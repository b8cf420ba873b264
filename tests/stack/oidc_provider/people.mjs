// The certified oidc-provider as people meet it: its own pages for log-in and consent, code flow with PKCE, pushed
// requests, form_post, and devices. Its first line of output says where it listens.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { generateKeyPairSync } from 'node:crypto';

import Provider from 'oidc-provider';

const { client, redirect } = JSON.parse(process.env.STACK_CONFIG);
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

let handle;
const server = createServer((request, response) => handle(request, response));
server.listen(0, '127.0.0.1');
await once(server, 'listening');

const issuer = `http://127.0.0.1:${server.address().port}`;
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const registered = {
  client_id: client.id,
  client_secret: client.secret,
  grant_types: ['authorization_code', 'refresh_token', DEVICE],
  redirect_uris: [redirect],
  response_types: ['code'],
  id_token_signed_response_alg: 'ES256',
};
const provider = new Provider(issuer, {
  clients: [
    registered,
    { ...registered, client_id: `${client.id}-pushed`, require_pushed_authorization_requests: true },
    { ...registered, client_id: `${client.id}-secret`, id_token_signed_response_alg: 'HS256' },
  ],
  jwks: { keys: [{ ...key, use: 'sig', kid: 'people' }] },
  cookies: { keys: ['stack'] },
  scopes: ['openid', 'offline_access', 'orders:read'],
  enabledJWA: { idTokenSigningAlgValues: ['ES256', 'HS256'] },
  pkce: { required: () => true },
  issueRefreshToken: () => true,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { AccessToken: 300, AuthorizationCode: 60, DeviceCode: 60, Grant: 300, IdToken: 300, Interaction: 60, Session: 60, RefreshToken: 300 },
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    dPoP: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: 'orders:read', audience: 'orders', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
handle = provider.callback();
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
// The tests hold the other end of standard input: when they are gone, so is this.
process.stdin.on('end', () => process.exit(0)).resume();
