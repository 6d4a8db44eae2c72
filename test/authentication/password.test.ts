/** Users of a password file, through real sockets: who is let in, in which words others are not, and what a flood does. */
import assert from 'node:assert/strict';
import { randomBytes, scryptSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ConnectingClient } from '../../src/auth/authenticator.ts';
import { PasswordLink } from '../../src/auth/password.ts';
import { parsePasswordFile } from '../../src/auth/password-file.ts';
import { formatPasswordLine, makePasswordLine, parsePasswordLine } from '../../src/auth/password-hash.ts';
import { systemClock } from '../../src/clock.ts';
import { codeFor, keptLog, nodeFor, replaceFile, scratchFolder } from '../support/authentication.ts';
import { eventually } from '../support/eventually.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';

const folder = scratchFolder();

/** With the least work that is allowed. */
function line(name: string, password: string, groups: readonly string[] = [], ln = 12): string {
  const salt = randomBytes(16);
  const key = scryptSync(password, salt, 32, { N: 2 ** ln, r: 8, p: 1, maxmem: 2 ** (ln + 11) });
  return `${formatPasswordLine(name, { hash: { parameters: { ln, r: 8, p: 1 }, salt, key }, groups })}\n`;
}

const peer = (): { address: string; port: number; listener: string } => ({ address: '::1', port: 1, listener: 'tcp' });
const client: ConnectingClient = { clientId: 'c', version: 5, peer, isGone: () => false };

const settings = { clock: systemClock, concurrency: 2, queue: 100, cacheSeconds: 60, cacheEntries: 10 };

test('password - right, wrong, unknown and none, in MQTT 5 and 3.1.1, in the same words where they should be', async (t) => {
  const path = join(folder, 'users');
  writeFileSync(path, `# users\n${line('ann', 'pencil')}${line('b:en', 'tinte äöü')}`);
  const { lines, log, text } = keptLog();
  const node = await nodeFor(t, { SUPERMQ_AUTH_PASSWORD_FILE: path }, systemClock, log);
  assert.equal(await codeFor(node.tcp, { username: 'ann', password: 'pencil' }), 0);
  assert.equal(await codeFor(node.tcp, { username: 'b:en', password: 'tinte äöü' }, 4), 0);
  assert.equal(await codeFor(node.tcp, { username: 'ann', password: 'pencils' }), 0x86);
  assert.equal(await codeFor(node.tcp, { username: 'ann' }), 0x86);
  assert.equal(await codeFor(node.tcp, { username: 'eve', password: 'pencil' }), 0x86);
  assert.equal(await codeFor(node.tcp, {}), 0x87);
  assert.equal(await codeFor(node.tcp, { username: 'ann', password: 'no' }, 4), 4);
  assert.equal(await codeFor(node.tcp, { username: 'eve', password: 'no' }, 3), 4);
  assert.equal(await codeFor(node.tcp, {}, 4), 5);
  const { authentications } = node.counters;
  assert.deepEqual(authentications.password, { accepted: 2, refused: 3, unavailable: 0 });
  assert.deepEqual(authentications.chain, { accepted: 0, refused: 4, unavailable: 0 });
  const [refusal] = lines('auth.refused');
  assert.equal(refusal?.['username'], 'ann');
  assert.match(JSON.stringify(refusal?.['peer']), /127\.0\.0\.1/);
  assert.ok(lines('auth.refused').some(({ authenticator }) => authenticator === 'password'));
  assert.doesNotMatch(text(), /pencil|tinte/);
  const metrics = await (await fetch(`http://127.0.0.1:${node.http}/metrics`)).text();
  assert.match(metrics, /supermq_authentications_total\{authenticator="password",result="refused"\} 3/);
});

test('password - a changed file is in use without a restart, a bad one is not, and what was remembered ends with its line', async (t) => {
  const path = join(folder, 'changing');
  writeFileSync(path, line('ann', 'old'));
  const { lines, log } = keptLog();
  const node = await nodeFor(t, { SUPERMQ_AUTH_PASSWORD_FILE: path }, systemClock, log);
  assert.equal(await codeFor(node.tcp, { username: 'ann', password: 'old' }), 0);
  replaceFile(path, 'ann:secret\n');
  await eventually(() => lines('auth.passwordsRefused').length > 0);
  assert.match(JSON.stringify(lines('auth.passwordsRefused')), /line 1 is not name/);
  assert.equal(await codeFor(node.tcp, { username: 'ann', password: 'old' }), 0);
  replaceFile(path, line('ann', 'new'));
  await eventually(() => lines('auth.passwordsChanged').length > 0);
  assert.equal(await codeFor(node.tcp, { username: 'ann', password: 'old' }), 0x86);
  assert.equal(await codeFor(node.tcp, { username: 'ann', password: 'new' }), 0);
});

test('password - more clients than may wait are turned away as by a busy server, the others are served', async (t) => {
  const path = join(folder, 'busy');
  writeFileSync(path, line('ann', 'pencil', [], 15));
  const env = {
    SUPERMQ_AUTH_PASSWORD_FILE: path,
    SUPERMQ_AUTH_PASSWORD_CONCURRENCY: '1',
    SUPERMQ_AUTH_PASSWORD_QUEUE: '1',
    SUPERMQ_AUTH_PASSWORD_CACHE_SECONDS: '0',
  };
  const node = await nodeFor(t, env);
  const login = { username: 'ann', password: 'pencil' };
  const codes = await Promise.all(Array.from({ length: 8 }, () => codeFor(node.tcp, login)));
  assert.ok(codes.filter((code) => code === 0).length >= 2, String(codes));
  assert.ok(codes.includes(0x89), String(codes));
  assert.ok(
    codes.every((code) => code === 0 || code === 0x89),
    String(codes),
  );
  assert.equal(node.counters.authentications.password.unavailable, codes.filter((code) => code === 0x89).length);
});

test('password - the work for an unknown name is that for a known one, and it is left to the next link', async () => {
  const link = new PasswordLink({ ...settings, cacheSeconds: 0 });
  link.replace(parsePasswordFile(line('ann', 'pencil', ['staff'], 14), 'users'));
  const time = async (username: string): Promise<number> => {
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const start = process.cpuUsage();
      const opinion = await link.judge(client, { username, password: Buffer.from('x') });
      assert.equal(opinion.kind, username === 'ann' ? 'refused' : 'unknown');
      const { system, user } = process.cpuUsage(start);
      times.push(system + user);
    }
    return Math.min(...times);
  };
  const ratio = (await time('eve')) / (await time('ann'));
  assert.ok(ratio > 0.5 && ratio < 2, `${ratio}`);
});

test('password - what was right once is not hashed again for a while, what is wrong always is', async () => {
  const clock = new ShiftedClock();
  const link = new PasswordLink({ ...settings, clock, concurrency: 1, queue: 0 });
  link.replace(parsePasswordFile(line('ann', 'pencil', ['staff', 'night']), 'users'));
  const ask = (password: string): ReturnType<PasswordLink['judge']> =>
    link.judge(client, { username: 'ann', password: Buffer.from(password) });
  /** Two at once: the second finds no room where the hash is made. */
  const kinds = async (password: string): Promise<string[]> =>
    (await Promise.all([ask(password), ask(password)])).map(({ kind }) => kind);
  const first = await ask('pencil');
  assert.ok(first.kind === 'accepted');
  assert.deepEqual(first.identity.groups, ['staff', 'night']);
  assert.deepEqual(await kinds('pencil'), ['accepted', 'accepted']);
  assert.deepEqual(await kinds('ink'), ['refused', 'unavailable']);
  assert.deepEqual(await kinds('ink'), ['refused', 'unavailable']);
  clock.pass(61);
  assert.deepEqual(await kinds('pencil'), ['accepted', 'unavailable']);
});

test('password - nothing is hashed for a client that has gone away while it waited', async () => {
  const link = new PasswordLink({ ...settings, concurrency: 1, cacheSeconds: 0 });
  link.replace(parsePasswordFile(line('ann', 'pencil'), 'users'));
  const credentials = { username: 'ann', password: Buffer.from('pencil') };
  const gone = { ...client, isGone: () => true };
  const [first, second, third] = await Promise.all([client, gone, client].map((each) => link.judge(each, credentials)));
  assert.deepEqual([first?.kind, second?.kind, third?.kind], ['accepted', 'unavailable', 'accepted']);
});

test('password - a line says what it says both ways, and bad ones are named', () => {
  const made = makePasswordLine('ann', 'pencil', ['staff', 'plant/1']);
  const [name, user] = parsePasswordLine(made);
  assert.equal(name, 'ann');
  assert.deepEqual(user.groups, ['staff', 'plant/1']);
  assert.equal(formatPasswordLine(name, user), made);
  assert.match(made, /^ann:\$scrypt\$ln=14,r=8,p=1\$/);
  const good = line('ben', 'x').trim();
  for (const [bad, says] of [
    ['ben:pencil', /line 1 is not name/],
    [good.replace('ln=12', 'ln=11'), /ln=11, but 12 to 17/],
    [good.replace('ln=12', 'ln=30'), /ln=30/],
    [good.replace('p=1', 'p=17'), /p=17/],
    [`${good}:a,,b`, /group/],
    [good.slice(0, -4), /is not name/],
    [`${good}\n${good}`, /line 2 has a name that stands on a line before/],
  ] as const)
    assert.throws(() => parsePasswordFile(bad, 'users'), says);
  for (const bad of ['', '#ann', 'a\nb']) assert.throws(() => makePasswordLine(bad, 'x', []), /name/);
  assert.throws(() => makePasswordLine('ann', '', []), /password/);
  assert.throws(() => makePasswordLine('ann', 'x', ['a b']), /group/);
});
