/** Clients that show a token, through real sockets: every algorithm, every way to forge one, keys that change, and the end of a token. */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { exportJWK, type JWTPayload, SignJWT } from 'jose';
import { systemClock } from '../../src/clock.ts';
import { codeFor, keptLog, loggedIn, nodeFor, replaceFile, scratchFolder } from '../support/authentication.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';
import { packet, property, props } from '../unit/mqtt/bytes.ts';

const folder = scratchFolder();
const secret = randomBytes(24).toString('hex');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed = generateKeyPairSync('ed25519');
const other = generateKeyPairSync('ed25519');
const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();
const publicKeys = [rsa, ec, ed].map(({ publicKey }) => pem(publicKey)).join('');

const secretFile = join(folder, 'secret');
const keysFile = join(folder, 'keys.pem');
writeFileSync(secretFile, `${secret}\n`);
writeFileSync(keysFile, publicKeys);

interface Signing {
  readonly key: KeyObject | Uint8Array;
  readonly alg: string;
  readonly kid?: string;
}
const byEd: Signing = { key: ed.privateKey, alg: 'EdDSA' };

function token(claims: JWTPayload, { key, ...header }: Signing = byEd): Promise<string> {
  const seconds = Math.floor(Date.now() / 1000);
  return new SignJWT({ sub: 'ann', exp: seconds + 60, iss: 'plant', aud: 'mqtt', ...claims })
    .setProtectedHeader(header)
    .sign(key);
}

const env = {
  SUPERMQ_AUTH_JWT_SECRET_FILE: secretFile,
  SUPERMQ_AUTH_JWT_KEYS_FILE: keysFile,
  SUPERMQ_AUTH_JWT_ISSUER: 'plant',
  SUPERMQ_AUTH_JWT_AUDIENCE: 'mqtt',
  SUPERMQ_AUTH_JWT_RULES_CLAIM: 'rules',
};
let node: TestNode;
const clock = new ShiftedClock();
before(async () => {
  node = await startNode(env, clock);
});
after(() => node.stop());

const show = async (claims: JWTPayload, signing?: Signing): Promise<number | undefined> =>
  codeFor(node.tcp, { username: 'anybody', password: await token(claims, signing) });

test('jwt - a token of each algorithm is accepted', async () => {
  for (const signing of [
    { key: Buffer.from(secret), alg: 'HS256' },
    { key: rsa.privateKey, alg: 'RS256' },
    { key: rsa.privateKey, alg: 'PS256' },
    { key: ec.privateKey, alg: 'ES256' },
    { key: ed.privateKey, alg: 'EdDSA', kid: 'a PEM file has no ids' },
  ])
    assert.equal(await show({}, signing), 0, signing.alg);
  assert.equal(await codeFor(node.tcp, { username: 'x', password: await token({}) }, 4), 0);
});

test('jwt - claims that do not fit are refused, and so are tokens for ever', async () => {
  const now = Math.floor(Date.now() / 1000);
  const bad: JWTPayload[] = [
    { exp: now - 60 },
    { nbf: now + 60 },
    { iss: 'elsewhere' },
    { aud: ['http', 'amqp'] },
    { sub: '' },
    { groups: 'staff' },
    { groups: ['staff', 1] },
    { rules: [{ allow: 'all', filter: 'a/#/b' }] },
  ];
  for (const claims of bad) assert.equal(await show(claims), 0x86, JSON.stringify(claims));
  assert.equal(await show({ exp: undefined } as unknown as JWTPayload), 0x86, 'without exp');
  const good: JWTPayload[] = [
    { exp: now - 5 },
    { nbf: now + 5 },
    { aud: ['http', 'mqtt'] },
    { groups: ['staff'] },
    { rules: [{ allow: 'all', filter: 'a/#' }] },
  ];
  for (const claims of good) assert.equal(await show(claims), 0, JSON.stringify(claims));
});

/** A token as an attacker makes it. */
function forged(header: object, sign: (input: string) => string): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 60;
  const input = `${encode(header)}.${encode({ sub: 'ann', iss: 'plant', aud: 'mqtt', exp })}`;
  return `${input}.${sign(input)}`;
}

test('jwt - no signature, that of another key, and a public key used as a secret are refused', async () => {
  const hmac = (key: string | Buffer) => (input: string) => createHmac('sha256', key).update(input).digest('base64url');
  const tokens = {
    none: forged({ alg: 'none' }, () => ''),
    None: forged({ alg: 'None' }, () => ''),
    'HS256 without signature': forged({ alg: 'HS256' }, () => ''),
    'the PEM as secret': forged({ alg: 'HS256' }, hmac(pem(rsa.publicKey))),
    'all of the file as secret': forged({ alg: 'HS256' }, hmac(publicKeys)),
    'the DER as secret': forged({ alg: 'HS256' }, hmac(rsa.publicKey.export({ type: 'spki', format: 'der' }))),
    'an empty secret': forged({ alg: 'HS256' }, hmac('')),
    'another key': await token({}, { key: other.privateKey, alg: 'EdDSA' }),
    'a key in the token': forged({ alg: 'EdDSA', jwk: await exportJWK(other.publicKey) }, () => 'AAAA'),
    'an unknown critical header': forged({ alg: 'HS256', crit: ['x'], x: 1 }, hmac(secret)),
    'another algorithm': forged({ alg: 'HS512' }, hmac(secret)),
    'a number for an algorithm': forged({ alg: 5 }, hmac(secret)),
    'a changed claim': (await token({})).replace(
      /\.[^.]+\./,
      `.${Buffer.from('{"sub":"root"}').toString('base64url')}.`,
    ),
  };
  for (const [what, password] of Object.entries(tokens))
    assert.equal(await codeFor(node.tcp, { username: 'x', password }), 0x86, what);
  const good = forged({ alg: 'HS256' }, hmac(secret));
  assert.equal(await codeFor(node.tcp, { username: 'x', password: good }), 0, 'the same made with the secret');
});

test('jwt - a password that is no token is none of its clients', async () => {
  const before = { ...node.counters.authentications.chain };
  for (const password of ['pencil', 'a.b.c', 'eyJ', `eyJ${'a'.repeat(20_000)}.a.a`])
    assert.equal(await codeFor(node.tcp, { username: 'ann', password }), 0x86);
  assert.equal(node.counters.authentications.chain.refused, before.refused + 4);
});

test('jwt - a token in the wrong place is not logged', async (t) => {
  const { lines, log, text } = keptLog();
  const strict = await nodeFor(t, env, systemClock, log);
  const username = await token({});
  assert.equal(await codeFor(strict.tcp, { username, password: 'x' }), 0x86);
  assert.equal(lines('auth.refused')[0]?.['username'], '[token]');
  assert.doesNotMatch(text(), new RegExp(username.slice(0, 40)));
});

test('jwt - the token may be the user name, which no log line has; it can be bound to a client id', async (t) => {
  const { log, text } = keptLog();
  const bound = await nodeFor(
    t,
    { ...env, SUPERMQ_AUTH_JWT_FIELD: 'username', SUPERMQ_AUTH_JWT_CLIENT_ID_CLAIM: 'device' },
    systemClock,
    log,
  );
  const username = await token({ device: 'pump 7' });
  assert.equal(await codeFor(bound.tcp, { username, clientId: 'pump 7' }), 0);
  assert.equal(await codeFor(bound.tcp, { username, clientId: 'pump 8' }), 0x87);
  assert.equal(await codeFor(bound.tcp, { username: await token({}), clientId: 'pump 8' }), 0x87);
  assert.match(text(), /another client id/);
  assert.doesNotMatch(text(), new RegExp(username.slice(-20)));
});

test('jwt - the connection ends with the token: DISCONNECT 0x87 for MQTT 5, a close for MQTT 3.1.1, the will is published', async () => {
  const watcher = await loggedIn(node.tcp, { username: 'x', password: await token({ exp: 4_000_000_000 }) });
  await watcher.subscribe('wills');
  const password = Buffer.from(await token({}));
  const will = { topic: 'wills', payload: Buffer.from('expired'), qos: 0 as const, retain: false };
  const five = await RawClient.connect(node.tcp, { version: 5, username: 'x', password, will });
  const four = await loggedIn(node.tcp, { username: 'x', password }, 4);
  const expired = node.counters.credentialsExpired;
  await five.ping();
  clock.pass(50);
  await five.ping(); // not yet: 60 seconds and the skew of the clocks
  clock.pass(25);
  assert.equal(await five.closingReason(), 0x87);
  await four.closed;
  assert.deepEqual(await watcher.messages(1), [{ topic: 'wills', payload: 'expired' }]);
  assert.equal(node.counters.credentialsExpired, expired + 2);
  await watcher.end();
});

/** Seconds of the shifted clock. */
function at(seconds: number): number {
  return Math.floor(clock.wall() / 1000) + seconds;
}

function auth(reasonCode: number, data: string): Buffer {
  const properties = props(property.authenticationMethod('JWT'), property.authenticationData(Buffer.from(data)));
  return packet(0xf0, reasonCode, properties);
}

async function connectByMethod(data: string): Promise<RawClient & { readonly connack: { reasonCode?: number } }> {
  const properties = { authenticationMethod: 'JWT', authenticationData: Buffer.from(data) };
  return RawClient.connect(node.tcp, { version: 5, keepalive: 0, properties });
}

test('jwt - by the authentication method JWT a connected client renews its token; not as somebody else', async () => {
  const refused = await connectByMethod('no token');
  assert.equal(refused.connack.reasonCode, 0x87);
  const client = await connectByMethod(await token({ exp: at(60) }));
  assert.equal(client.connack.reasonCode, 0);
  client.send(auth(0x19, await token({ exp: at(600) })));
  assert.equal((await client.next('auth')).reasonCode, 0);
  const lazy = await connectByMethod(await token({ exp: at(60) }));
  clock.pass(100);
  assert.equal(await lazy.closingReason(), 0x87);
  await client.ping();
  client.send(auth(0x19, await token({ sub: 'ben', exp: at(600) })));
  assert.equal(await client.closingReason(), 0x87);
});

test('jwt - a changed file of keys is in use without a restart; private and short keys are refused', async (t) => {
  const path = join(folder, 'changing.pem');
  writeFileSync(path, pem(other.publicKey));
  const { lines, log } = keptLog();
  const changing = await nodeFor(t, { SUPERMQ_AUTH_JWT_KEYS_FILE: path }, systemClock, log);
  const login = { username: 'x', password: await token({}) };
  assert.equal(await codeFor(changing.tcp, login), 0x86);
  replaceFile(path, ed.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
  await eventually(() => lines('auth.keysRefused').length === 1);
  assert.match(JSON.stringify(lines('auth.keysRefused')), /key 1 is private/);
  replaceFile(path, JSON.stringify({ keys: [{ ...(await exportJWK(ed.publicKey)), kid: 'a' }] }));
  await eventually(() => lines('auth.keysChanged').length === 1);
  assert.equal(await codeFor(changing.tcp, login), 0);
  const short = join(folder, 'short');
  writeFileSync(short, 'too short');
  await assert.rejects(startNode({ SUPERMQ_AUTH_JWT_SECRET_FILE: short }), /has 9 bytes, but 32/);
});

test('jwt - keys of a URL: unavailable until they are there, kept in an outage, fetched again for an unknown key', async (t) => {
  let keys: object[] | undefined;
  let asked = 0;
  const server = await listening((_, response) => {
    asked++;
    response.writeHead(keys === undefined ? 503 : 200).end(JSON.stringify({ keys }));
  });
  const { port } = server.address() as { port: number };
  const time = new ShiftedClock();
  const { lines, log } = keptLog();
  const remote = await nodeFor(t, { SUPERMQ_AUTH_JWT_JWKS_URL: `http://127.0.0.1:${port}/` }, time, log);
  try {
    const password = await token({ exp: 4_000_000_000 }, { ...byEd, kid: 'first' });
    const login = { username: 'x', password };
    await eventually(() => lines('auth.jwksFailed').length === 1);
    assert.equal(await codeFor(remote.tcp, login), 0x88);
    assert.equal(await codeFor(remote.tcp, login, 4), 3);
    keys = [
      { ...(await exportJWK(ed.publicKey)), kid: 'first', use: 'sig' },
      { kty: 'oct', k: 'AAAA', kid: 'none' },
    ];
    time.pass(6);
    await eventually(async () => (await codeFor(remote.tcp, login)) === 0);
    const unknown = await token({ exp: 4_000_000_000 }, { key: other.privateKey, alg: 'EdDSA', kid: 'second' });
    const before = asked;
    for (let i = 0; i < 5; i++) assert.equal(await codeFor(remote.tcp, { username: 'x', password: unknown }), 0x86);
    assert.equal(asked, before, 'not asked again at once');
    keys.push({ ...(await exportJWK(other.publicKey)), kid: 'second' });
    time.pass(31);
    assert.equal(await codeFor(remote.tcp, { username: 'x', password: unknown }), 0);
    keys = undefined;
    time.pass(700);
    await eventually(() => lines('auth.jwksFailed').length === 2);
    assert.equal(await codeFor(remote.tcp, login), 0, 'the last good keys stay');
    const third = await token({ exp: 4_000_000_000 }, { ...byEd, kid: 'third' });
    assert.equal(await codeFor(remote.tcp, { username: 'x', password: third }), 0x88, 'it may be a new key');
  } finally {
    await remote.stop();
    server.close();
    server.closeAllConnections();
  }
});

function listening(answer: RequestListener): Promise<Server> {
  const server = createServer(answer);
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}
