// One service behind a validator that people really use: jose, express-oauth2-jwt-bearer, or jsonwebtoken with jwks-rsa.
// It may be misconfigured in the ways that happen, and it may call another service with the token that it was given.

import { X509Certificate, createPublicKey, createSecretKey } from 'node:crypto';

import express from 'express';
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer';
import { rateLimit } from 'express-rate-limit';
import { UnsecuredJWT, createRemoteJWKSet, decodeProtectedHeader, errors, importX509, jwtVerify } from 'jose';
import jsonwebtoken from 'jsonwebtoken';
import jwksRsa from 'jwks-rsa';

const config = JSON.parse(process.env.STACK_CONFIG);
const ALGORITHMS = ['RS256', 'PS256', 'ES256'];

class KeysUnavailable extends Error {}

const wanted = () => ({
  ...(config.check_issuer && { issuer: config.issuer }),
  ...(config.check_audience && { audience: config.audience }),
});

function refuse(response, error) {
  response.set('WWW-Authenticate', error ? `Bearer realm="orders", error="${error}"` : 'Bearer realm="orders"');
  response.status(401).json({ error: error ?? 'no_token' });
}

// What a validator in the manner of a hand-written one does, wrapped so that the way it fails is the same for each.
function guarded(validate) {
  return async (request, response, next) => {
    const [scheme, token] = (request.get('Authorization') ?? '').split(' ');
    if (scheme.toLowerCase() !== 'bearer' || !token) return refuse(response);
    try {
      await validate(token);
    } catch (error) {
      if (!(error instanceof KeysUnavailable)) return refuse(response, 'invalid_token');
      if (!config.fail_open) return response.status(503).json({ error: 'keys_unavailable' });
    }
    return next();
  };
}

// The algorithm comes from the token itself: `none` is honoured, and an HS key is the public key's PEM text.
async function keyByTheToken(token, publicKey) {
  const { alg, kid } = decodeProtectedHeader(token);
  if (!alg.startsWith('HS')) return { key: await publicKey(kid, alg), algorithms: [alg] };
  const document = await (await fetch(config.jwks_url)).json();
  const jwk = document.keys.find((one) => one.use !== 'enc');
  const pem = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
  return { key: createSecretKey(Buffer.from(pem)), algorithms: [alg] };
}

const isUnsecured = (token) => !config.pin_algorithm && decodeProtectedHeader(token).alg === 'none';

// The token says where its key is to be had. `fetched`: it is asked for, and then not used.
const namesItsKey = ({ jku, x5u }) => config.follow && (jku ?? x5u);
const fetched = async (url) => (await fetch(url)).text();

const NETWORK = ['ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC'];

function byJose() {
  const forever = { cooldownDuration: Infinity, cacheMaxAge: Infinity };
  const keys = createRemoteJWKSet(new URL(config.jwks_url), config.keys_for_ever ? forever : { cooldownDuration: 0 });
  const options = { ...wanted(), ...(!config.check_expiry && { clockTolerance: Number.MAX_SAFE_INTEGER }) };
  const resolve = async (...args) => {
    try {
      return await keys(...args);
    } catch (error) {
      if (NETWORK.includes(error.code) || !(error instanceof errors.JOSEError)) throw new KeysUnavailable();
      throw error;
    }
  };
  return guarded(async (token) => {
    if (isUnsecured(token)) return UnsecuredJWT.decode(token, options);
    const header = decodeProtectedHeader(token);
    if (namesItsKey(header) && config.follow === 'fetched') await fetched(header.jku ?? header.x5u);
    else if (namesItsKey(header)) {
      const key = header.jku ? createRemoteJWKSet(new URL(header.jku)) : await importX509(await fetched(header.x5u), header.alg);
      return jwtVerify(token, key, { ...options, algorithms: ALGORITHMS });
    }
    if (config.pin_algorithm) return jwtVerify(token, resolve, { ...options, algorithms: ALGORITHMS });
    const { key, algorithms } = await keyByTheToken(token, async (kid, alg) => resolve({ kid, alg }, {}));
    return jwtVerify(token, key, { ...options, algorithms });
  });
}

function byJsonwebtoken() {
  const client = jwksRsa({ jwksUri: config.jwks_url, cache: true, rateLimit: false });
  const once = config.keys_for_ever ? client.getSigningKeys() : undefined;
  once?.catch(() => {});
  const find = async (kid) => {
    try {
      const found = once ? (await once).find((key) => key.kid === kid) : await client.getSigningKey(kid);
      if (found === undefined) throw new Error('unknown kid');
      return found.getPublicKey();
    } catch (error) {
      if (error.name === 'SigningKeyNotFoundError' || error.message === 'unknown kid') throw error;
      throw new KeysUnavailable();
    }
  };
  const options = { ...wanted(), ignoreExpiration: !config.check_expiry, ignoreNotBefore: !config.check_expiry };
  return guarded(async (token) => {
    if (isUnsecured(token)) return jsonwebtoken.verify(token, '', { ...options, algorithms: ['none'] });
    if (config.pin_algorithm) {
      const header = decodeProtectedHeader(token);
      if (!ALGORITHMS.includes(header.alg)) throw new Error('algorithm');
      if (namesItsKey(header) && config.follow === 'fetched') await fetched(header.jku ?? header.x5u);
      else if (namesItsKey(header)) {
        const key = header.jku
          ? (await jwksRsa({ jwksUri: header.jku }).getSigningKey(header.kid)).getPublicKey()
          : new X509Certificate(await fetched(header.x5u)).publicKey;
        return jsonwebtoken.verify(token, key, { ...options, algorithms: ALGORITHMS });
      }
      return jsonwebtoken.verify(token, await find(header.kid), { ...options, algorithms: ALGORITHMS });
    }
    const { key, algorithms } = await keyByTheToken(token, find);
    return jsonwebtoken.verify(token, key, { ...options, algorithms });
  });
}

// It answers by itself: 401 with a challenge, and 500 where it cannot have the keys.
function byExpressOauth2() {
  return auth({
    jwksUri: config.jwks_url,
    issuer: config.issuer,
    audience: config.audience,
    tokenSigningAlg: undefined,
    cooldownDuration: config.keys_for_ever ? Number.MAX_SAFE_INTEGER : 0,
    ...(config.keys_for_ever && { cacheMaxAge: Number.MAX_SAFE_INTEGER }),
    validators: {
      ...(!config.check_issuer && { iss: false }),
      ...(!config.check_audience && { aud: false }),
    },
    ...(!config.check_expiry && { clockTolerance: Number.MAX_SAFE_INTEGER }),
  });
}

// A good token without the scope that the page wants: RFC 6750, section 3.1.
function byScope() {
  if (!config.scope) return (request, response, next) => next();
  if (config.kind === 'express-oauth2-jwt-bearer') return requiredScopes(config.scope);
  return (request, response, next) => {
    const [, claims] = request.get('Authorization').split('.');
    const granted = JSON.parse(Buffer.from(claims, 'base64url').toString()).scope ?? '';
    if (granted.split(' ').includes(config.scope)) return next();
    response.set('WWW-Authenticate', `Bearer realm="orders", error="insufficient_scope", scope="${config.scope}"`);
    return response.status(403).json({ error: 'insufficient_scope' });
  };
}

async function answer(request, response) {
  if (!config.next_url) return response.json({ status: 'ok', service: config.kind });
  const headers = { Authorization: request.get('Authorization') };
  if (request.get('traceparent')) headers.traceparent = request.get('traceparent');
  try {
    const behind = await fetch(config.next_url, { headers, signal: AbortSignal.timeout(5000) });
    const told = behind.ok ? await behind.json() : null;
    if (!behind.ok) return response.status(502).json({ error: 'downstream', status: behind.status });
    return response.json({ status: 'ok', service: config.kind, behind: told });
  } catch {
    return response.status(502).json({ error: 'downstream' });
  }
}

const validators = { jose: byJose, jsonwebtoken: byJsonwebtoken, 'express-oauth2-jwt-bearer': byExpressOauth2 };
const app = express();
app.disable('x-powered-by');
if (config.limit) app.use(rateLimit({ windowMs: 60_000, limit: config.limit }));
app.get('/orders', validators[config.kind](), byScope(), answer);
app.use((error, request, response, next) => {
  response.status(error.status ?? error.statusCode ?? 500).set(error.headers ?? {}).json({ error: error.code ?? 'error' });
});
const server = app.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/orders` }));
});
