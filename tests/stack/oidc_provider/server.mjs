// The certified oidc-provider on two free loopback ports: the issuer, and a control port through which the tests
// change its settings, its keys and its faults while it runs. Its first line of output says where both are.

import { randomBytes, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';

import Provider, { errors } from 'oidc-provider';

const { client, users } = JSON.parse(process.env.STACK_CONFIG);
const HEALTHY = { rotate: true, ttl: 300, scopes: 'orders:read orders:list', resource: undefined, fault: null };
const KINDS = { RS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] };
const RESOURCES = 'https://api.example/';
const SHARED = randomBytes(32);

let settings = { ...HEALTHY };
let keys = newKeys();
let provider;

// One store for every provider built here: what was issued outlives a change of settings.
const stored = new Map();
class Store {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload) { stored.set(this.key(id), payload); }
  async find(id) { return stored.get(this.key(id)); }
  async destroy(id) { stored.delete(this.key(id)); }
  async consume(id) { stored.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async revokeByGrantId(grant) {
    for (const [key, payload] of stored) if (payload.grantId === grant) stored.delete(key);
  }
}

function newKeys() {
  return Object.values(KINDS).map(([type, options]) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
    kid: randomBytes(8).toString('hex'),
    use: 'sig',
  }));
}

// A resource is named after the algorithm that signs its tokens, or `jwe` for tokens that only it can read; an audience other
// than `orders` follows after a slash.
function resourceServer(resource) {
  const [name, audience = 'orders'] = resource.startsWith(RESOURCES) ? resource.slice(RESOURCES.length).split('/') : [''];
  const jwt = name === 'jwe'
    ? { encrypt: { alg: 'dir', enc: 'A256GCM', key: SHARED } }
    : { sign: { alg: name } };
  if (!['RS256', 'PS256', 'ES256', 'EdDSA', 'jwe'].includes(name)) throw new errors.InvalidTarget();
  return { scope: settings.scopes, audience, accessTokenTTL: settings.ttl, accessTokenFormat: 'jwt', jwt };
}

function build(issuer) {
  const made = new Provider(issuer, {
    adapter: Store,
    clients: [{
      client_id: client.id,
      client_secret: client.secret,
      grant_types: ['client_credentials', 'password', 'refresh_token'],
      redirect_uris: [],
      response_types: [],
    }],
    jwks: { keys },
    cookies: { keys: ['stack'] },
    scopes: ['openid', 'offline_access', 'orders:read', 'orders:list'],
    rotateRefreshToken: settings.rotate,
    ttl: { AccessToken: settings.ttl, ClientCredentials: settings.ttl, Grant: 3600, IdToken: 300, RefreshToken: 3600 },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: (ctx, caller, token) => token.clientId === caller.clientId },
      revocation: { enabled: true, allowedPolicy: (ctx, caller, token) => token.clientId === caller.clientId },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => settings.resource,
        getResourceServerInfo: (ctx, resource) => resourceServer(resource),
        useGrantedResource: () => true,
      },
    },
  });
  made.registerGrantType('password', passwordGrant, ['username', 'password', 'scope', 'resource'], []);
  made.use(fault);
  return made;
}

async function passwordGrant(ctx) {
  const { client: caller, params, provider: op } = ctx.oidc;
  if (!params.username || users[params.username] !== params.password) throw new errors.InvalidGrant('wrong user or password');
  const grant = new op.Grant({ clientId: caller.clientId, accountId: params.username });
  grant.addOIDCScope(params.scope ?? '');
  if (params.resource) grant.addResourceScope(params.resource, params.scope ?? '');
  const issued = { accountId: params.username, client: caller, grantId: await grant.save(), gty: 'password' };
  const access = new op.AccessToken(issued);
  const asked = (params.scope ?? '').split(' ').filter(Boolean);
  if (params.resource) {
    access.resourceServer = new op.ResourceServer(params.resource, resourceServer(params.resource));
    access.scope = asked.filter((scope) => access.resourceServer.scopes.has(scope)).join(' ') || undefined;
  } else {
    access.scope = grant.getOIDCScopeFiltered(new Set(asked));
  }
  const refresh = new op.RefreshToken({ ...issued, scope: params.scope, resource: params.resource, rotations: 0 });
  ctx.body = {
    access_token: await access.save(),
    expires_in: access.expiration,
    refresh_token: await refresh.save(),
    scope: access.scope,
    token_type: access.tokenType,
  };
}

// What can go wrong in front of a provider: {path, status}, {path, html} or {path, delay in milliseconds}.
async function fault(ctx, next) {
  const wrong = settings.fault?.path === ctx.path ? settings.fault : null;
  if (wrong?.delay) await pause(wrong.delay);
  if (wrong?.html) {
    ctx.type = 'text/html';
    ctx.body = '<!doctype html><title>Maintenance</title><p>Back soon';
  } else if (wrong?.status) {
    ctx.status = wrong.status;
    ctx.body = { error: 'temporarily_unavailable' };
  } else {
    await next();
  }
}

// `keys: add` signs with new keys and keeps the old ones published; `keys: replace` withdraws the old ones at once.
function change({ keys: how, healthy, ...rest }) {
  settings = healthy ? { ...HEALTHY } : { ...settings, ...rest };
  if (how === 'add') keys = [...newKeys(), ...keys];
  if (how === 'replace') keys = newKeys();
  provider = build(provider.issuer);
  return { kids: keys.map((key) => key.kid) };
}

async function control(request, response) {
  const body = [];
  for await (const part of request) body.push(part);
  const told = change(JSON.parse(Buffer.concat(body).toString()));
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(told));
}

async function listen(handler) {
  const server = createServer(handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
}

const issuer = await listen((request, response) => provider.callback()(request, response));
provider = build(issuer);
process.stdout.write(`${JSON.stringify({ issuer, control: await listen(control) })}\n`);
// The tests hold the other end of standard input: when they are gone, so is this.
process.stdin.on('end', () => process.exit(0)).resume();
