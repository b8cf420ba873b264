// An API as many are written: Express, jsonwebtoken with a shared secret, the raw token in Authorization, 403 for bad ones;
// and the same log-in with a session cookie of express-session.

import express from 'express';
import session from 'express-session';
import jsonwebtoken from 'jsonwebtoken';

// `pinned` false: the algorithm is left to the token, as the library's own examples do.
const { secret, user, password, cookie, pinned = true } = JSON.parse(process.env.STACK_CONFIG);
const app = express();
app.disable('x-powered-by');
app.use(express.json(), express.urlencoded({ extended: false }));

const knows = ({ username, password: typed }) => username === user && typed === password;

app.post('/login', (request, response) => {
  const account = request.body?.account ?? {};
  if (!knows(account)) return response.status(403).json({ message: 'wrong user name or password' });
  const claims = { sub: user, role: 'reader' };
  return response.json({ token: jsonwebtoken.sign(claims, secret, { algorithm: 'HS256', expiresIn: 300, issuer: 'shop' }) });
});

app.get('/orders', (request, response) => {
  try {
    jsonwebtoken.verify(request.get('Authorization'), secret, { ...(pinned && { algorithms: ['HS256'] }), issuer: 'shop' });
  } catch {
    return response.status(403).json({ message: 'forbidden' });
  }
  return response.json({ status: 'ok' });
});

app.use('/session', session({ name: 'shop.sid', secret, resave: false, saveUninitialized: false, cookie }));
app.post('/session', (request, response) => {
  if (!knows(request.body ?? {})) return response.status(401).type('html').send('<p>wrong</p>');
  request.session.user = user;
  return response.redirect('/session/orders');
});
app.get('/session/orders', (request, response) => {
  if (request.session.user === undefined) return response.redirect('/login');
  return response.json({ status: 'ok' });
});

const server = app.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` }));
});
