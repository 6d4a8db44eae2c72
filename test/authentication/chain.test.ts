/** The chain: who is asked in which order, what is configured how, and that nobody is let in by default where somebody is known. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makePasswordLine } from '../../src/auth/password-hash.ts';
import { makeUserLine } from '../../src/auth/scram-credentials.ts';
import { systemClock } from '../../src/clock.ts';
import { loadConfig } from '../../src/config/load.ts';
import { codeFor, keptLog, nodeFor, scratchFolder } from '../support/authentication.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { RawClient } from '../support/raw-client.ts';
import { METHOD, ScramClient } from '../support/scram-client.ts';

const folder = scratchFolder();
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const users = file('users', `${makePasswordLine('ann', 'pencil', [])}\n`);
const scramUsers = file('scram', `${makeUserLine('sue', 'pencil')}\n`);
const secret = 'a secret of more than thirty-two bytes';
const secretFile = file('secret', secret);

function token(): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 60;
  const input = `${encode({ alg: 'HS256' })}.${encode({ sub: 'tom', exp })}`;
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
}

/** How the server goes on after a CONNECT with SCRAM. */
async function scramAnswer(port: number): Promise<string> {
  const client = await RawClient.open(port, 5);
  const properties = { authenticationMethod: METHOD, authenticationData: new ScramClient('sue', 'pencil').first };
  client.send({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clientId: 's',
    clean: true,
    keepalive: 0,
    properties,
  });
  const { cmd } = await client.nextMatching((packet): packet is typeof packet => true);
  await client.abort();
  return cmd;
}

test('chain - without options anybody may connect, with whatever credentials', async (t) => {
  const { lines, log } = keptLog();
  const node = await nodeFor(t, {}, systemClock, log);
  assert.equal(await codeFor(node.tcp, {}), 0);
  assert.equal(await codeFor(node.tcp, { username: 'ann', password: 'x' }, 4), 0);
  assert.equal(node.counters.authentications.anonymous.accepted, 2);
  assert.equal(lines('auth.open').length, 0, 'a node alone needs no warning');
});

test('chain - a node with NATS warns when anybody may connect, and only then', async (t) => {
  const nats = await startNatsServer();
  try {
    for (const [env, warnings] of [
      [{}, 1],
      [{ SUPERMQ_AUTH_PASSWORD_FILE: users }, 0],
      [{ SUPERMQ_AUTH_PASSWORD_FILE: users, SUPERMQ_AUTH_CHAIN: 'password,anonymous' }, 1],
      [{ SUPERMQ_AUTH_SCRAM_FILE: scramUsers }, 1],
      [{ SUPERMQ_AUTH_SCRAM_FILE: scramUsers, SUPERMQ_AUTH_SCRAM_REQUIRED: 'true' }, 0],
    ] as const) {
      const { lines, log } = keptLog();
      const node = await nodeFor(t, { ...env, SUPERMQ_NATS_SERVERS: nats.url }, systemClock, log);
      await node.stop();
      assert.equal(lines('auth.open').length, warnings, JSON.stringify(env));
    }
  } finally {
    await nats.stop();
  }
});

test('chain - tokens, passwords and SCRAM side by side; anonymous is for those without credentials only', async (t) => {
  const env = {
    SUPERMQ_AUTH_PASSWORD_FILE: users,
    SUPERMQ_AUTH_JWT_SECRET_FILE: secretFile,
    SUPERMQ_AUTH_SCRAM_FILE: scramUsers,
  };
  const closed = await nodeFor(t, env);
  const open = await nodeFor(t, { ...env, SUPERMQ_AUTH_CHAIN: 'password, jwt, anonymous' });
  for (const { counters, tcp } of [closed, open]) {
    assert.equal(await codeFor(tcp, { username: 'ann', password: 'pencil' }), 0);
    assert.equal(await codeFor(tcp, { username: 'tom', password: token() }), 0);
    assert.equal(await codeFor(tcp, { username: 'ann', password: 'ink' }), 0x86);
    assert.equal(await codeFor(tcp, { username: 'eve', password: 'ink' }), 0x86);
    assert.equal(await codeFor(tcp, { username: 'eve' }), 0x86);
    assert.equal(await scramAnswer(tcp), 'auth');
    assert.equal(counters.authentications.jwt.accepted, 1);
  }
  assert.equal(await codeFor(closed.tcp, {}), 0x87);
  assert.equal(await codeFor(open.tcp, {}), 0);
});

test('chain - a known user with a token for a password is the user of the link that comes first', async (t) => {
  const env = { SUPERMQ_AUTH_PASSWORD_FILE: users, SUPERMQ_AUTH_JWT_SECRET_FILE: secretFile };
  const tokensFirst = await nodeFor(t, env);
  const passwordsFirst = await nodeFor(t, { ...env, SUPERMQ_AUTH_CHAIN: 'password,jwt' });
  const login = { username: 'ann', password: token() };
  assert.equal(await codeFor(tokensFirst.tcp, login), 0);
  assert.equal(await codeFor(passwordsFirst.tcp, login), 0x86, 'a wrong password of a known user ends the chain');
});

test('chain - of a flood of refusals one line a second is logged for each reason', async (t) => {
  const { lines, log } = keptLog();
  const node = await nodeFor(t, { SUPERMQ_AUTH_JWT_SECRET_FILE: secretFile }, systemClock, log);
  const start = performance.now();
  for (let i = 0; i < 100; i++) assert.equal(await codeFor(node.tcp, { username: 'eve', password: `${i}` }), 0x86);
  const seconds = Math.floor((performance.now() - start) / 1000);
  assert.ok(lines('auth.refused').length <= seconds + 1, `${lines('auth.refused').length} in ${seconds} s`);
  assert.equal(node.counters.authentications.chain.refused, 100);
});

test('chain - what does not go together is refused at the start, in a sentence', () => {
  for (const [env, says] of [
    [{ AUTH_CHAIN: 'password' }, /auth\.chain has password without auth\.password\.file/],
    [{ AUTH_CHAIN: 'anonymous', AUTH_PASSWORD_FILE: users }, /auth\.chain has no password: add it/],
    [{ AUTH_CHAIN: 'anonymous,anonymous' }, /each once/],
    [{ AUTH_CHAIN: 'ldap' }, /must be a list of certificate/],
    [{ AUTH_JWT_KEYS_FILE: users, AUTH_JWT_JWKS_URL: 'http://localhost/' }, /remove one/],
    [{ AUTH_JWT_SECRET_FILE: secretFile, AUTH_JWT_ALGORITHMS: 'RS256' }, /none that the configured keys are for/],
    [{ AUTH_HTTP_URL: 'http://user:word@localhost/' }, /without user and password/],
    [{ AUTH_HTTP_SECRET_FILE: secretFile }, /without auth\.http\.url/],
    [{ AUTH_PASSWORD_FILE: '/nowhere' }, /cannot be read/],
  ] as const) {
    const prefixed = Object.fromEntries(Object.entries(env).map(([key, value]) => [`SUPERMQ_${key}`, value]));
    assert.throws(() => loadConfig({ env: prefixed }), says);
  }
});
