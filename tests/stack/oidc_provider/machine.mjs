// The certified oidc-provider over TLS for clients that sign, show certificates and bind tokens. Two listeners: the issuer,
// and one that asks for client certificates, to which discovery's mtls_endpoint_aliases point. DPoP always wants a nonce.

import { randomBytes, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { createServer } from 'node:https';
import { once } from 'node:events';

import Provider from 'oidc-provider';

const { tls, clients } = JSON.parse(process.env.STACK_CONFIG);
const KEYS = [['rsa', { modulusLength: 2048 }]].map(([type, options]) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
  kid: randomBytes(8).toString('hex'),
  use: 'sig',
}));

function certificate(ctx) {
  const peer = ctx.socket.getPeerCertificate?.();
  return peer?.raw ? new X509Certificate(peer.raw) : undefined;
}

function build(issuer, aliases) {
  return new Provider(issuer, {
    clients: clients.map((client) => ({
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      ...client,
    })),
    jwks: { keys: KEYS },
    cookies: { keys: ['stack'] },
    scopes: ['orders:read'],
    clientAuthMethods: [
      ...['client_secret_basic', 'client_secret_jwt', 'private_key_jwt'],
      ...['tls_client_auth', 'self_signed_tls_client_auth'],
    ],
    discovery: {
      mtls_endpoint_aliases: { token_endpoint: `${aliases}/token`, introspection_endpoint: `${aliases}/token/introspection` },
    },
    ttl: { ClientCredentials: 300 },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
      introspection: { enabled: true },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        selfSignedTlsClientAuth: true,
        tlsClientAuth: true,
        getCertificate: certificate,
        certificateAuthorized: (ctx) => ctx.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) =>
          property === 'tls_client_auth_san_email' && certificate(ctx).checkEmail(expected) !== undefined,
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'orders:read',
          audience: 'orders',
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
}

async function listen(options) {
  const server = createServer({ ...tls, ...options }, (request, response) => provider.callback()(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `https://127.0.0.1:${server.address().port}`;
}

let provider;
const issuer = await listen({});
provider = build(issuer, await listen({ requestCert: true, rejectUnauthorized: false }));
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
// The tests hold the other end of standard input: when they are gone, so is this.
process.stdin.on('end', () => process.exit(0)).resume();
