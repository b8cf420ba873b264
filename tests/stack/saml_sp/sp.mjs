// One SAML service provider made with a library that people really use: @node-saml/node-saml (passport-saml's), or samlify, also an old
// one. `/login` sends people to the identity provider, `/acs` takes the response, `/me` says who is logged in.

import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';

import { SAML } from '@node-saml/node-saml';
import express from 'express';

const config = JSON.parse(process.env.STACK_CONFIG);
const sessions = new Map();
const app = express();
app.disable('x-powered-by');
app.use(express.urlencoded({ extended: false }));

function byNodeSaml(acs) {
  const saml = new SAML({
    callbackUrl: acs,
    entryPoint: config.sso_url,
    issuer: config.entity_id,
    idpCert: config.certificate,
    audience: config.check_audience ? config.entity_id : false,
    validateInResponseTo: config.check_request ? 'always' : 'never',
    acceptedClockSkewMs: config.check_expiry ? 0 : -1,
    wantAssertionsSigned: config.want_assertion_signed,
    wantAuthnResponseSigned: config.want_response_signed,
    disableRequestedAuthnContext: true,
    identifierFormat: null,
  });
  return {
    start: () => saml.getAuthorizeUrlAsync('start', undefined, {}),
    take: async (body) => (await saml.validatePostResponseAsync(body)).profile.nameID,
  };
}

// What the library leaves to the application (InResponseTo, audience, replay) is not done here: that is how it is used.
function bySamlify(acs) {
  const samlify = createRequire(import.meta.url)(config.kind);
  samlify.setSchemaValidator({ validate: async () => 'not validated' });
  const post = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST';
  const sp = samlify.ServiceProvider({
    entityID: config.entity_id,
    wantAssertionsSigned: config.want_assertion_signed,
    wantMessageSigned: config.want_response_signed,
    assertionConsumerService: [{ Binding: post, Location: acs }],
  });
  const idp = samlify.IdentityProvider({ metadata: config.metadata });
  return {
    start: async () => sp.createLoginRequest(idp, 'redirect').context,
    take: async (body) => (await sp.parseLoginResponse(idp, 'post', { body })).extract.nameID,
  };
}

const cookie = (request) => /(?:^|; )sid=([^;]+)/.exec(request.get('Cookie') ?? '')?.[1];
let provider;

app.get('/login', async (request, response) => response.redirect(await provider.start()));
app.post('/acs', async (request, response) => {
  try {
    const name = await provider.take(request.body);
    if (!name) throw new Error('nobody');
    const sid = randomUUID();
    sessions.set(sid, name);
    response.cookie('sid', sid, { httpOnly: true }).redirect('/me');
  } catch {
    response.status(403).json({ error: 'refused' });
  }
});
app.get('/me', (request, response) => {
  const user = sessions.get(cookie(request));
  return user ? response.json({ user }) : response.status(401).json({ error: 'nobody' });
});
const server = app.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  provider = (config.kind === 'node-saml' ? byNodeSaml : bySamlify)(`${url}/acs`);
  console.log(JSON.stringify({ url }));
});
