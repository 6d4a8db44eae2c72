/** auth/scram-file.ts: which changes of the file are seen, and what becomes of one that cannot be read for a while. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { deriveCredentials, formatUserLine } from '../../../src/auth/scram-credentials.ts';
import { openScramFile } from '../../../src/auth/scram-file.ts';
import { systemClock } from '../../../src/clock.ts';

function line(name: string): string {
  return `${formatUserLine(name, deriveCredentials('pencil', Buffer.alloc(16, name), 4096))}\n`;
}

interface Opened {
  readonly path: string;
  readonly count: () => number;
  /** Has the file looked at; resolves with what that has come to. */
  readonly look: () => Promise<string>;
  /** What some unknown names are told. */
  readonly told: () => readonly string[];
}

/** An open file, of one user unless told otherwise. */
function opened(t: TestContext, text = line('ann')): Opened {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-users-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'users');
  writeFileSync(path, text);
  utimesSync(path, 1, 1);
  let tick = (): void => {};
  let tell = (_: string): void => {};
  const every = (_: number, task: () => void): (() => void) => {
    tick = task;
    return () => {};
  };
  const file = openScramFile({
    path,
    clock: { ...systemClock, every },
    changed: () => tell('changed'),
    refused: ({ message }) => tell(message),
  });
  const look = async (): Promise<string> => {
    let told = 'nothing';
    tell = (what) => {
      told = what;
    };
    tick();
    // A look is two calls of the file system, one after the other: these come later.
    for (let call = 0; call < 20; call++) await stat(folder);
    return told;
  };
  const told = (): readonly string[] =>
    ['nobody', 'eve'].map((name) => {
      const { iterations, salt } = file.users.credentialsOf(name);
      return `${iterations} ${salt.toString('base64')}`;
    });
  return { path, look, told, count: () => file.users.count };
}

test('scram file - new content of the same size and time of modification is seen', async (t) => {
  const { look, path } = opened(t);
  assert.equal(await look(), 'nothing');
  writeFileSync(path, line('ben'));
  utimesSync(path, 1, 1);
  assert.equal(await look(), 'changed');
  assert.equal(await look(), 'nothing');
});

test('scram file - what cannot be read is told once, keeps the users, and is read as soon as it can be', async (t) => {
  const { count, look, path } = opened(t);
  rmSync(path);
  mkdirSync(path);
  assert.match(await look(), /auth\.scram\.file .* cannot be read/);
  assert.equal(await look(), 'nothing');
  assert.equal(count(), 1);
  renameSync(path, `${path}.folder`);
  writeFileSync(path, line('ann') + line('ben'));
  assert.equal(await look(), 'changed');
  assert.equal(count(), 2);
});

function secretLine(fill: number): string {
  return `unknown-names:SECRET$${Buffer.alloc(32, fill).toString('base64')}\n`;
}

test('scram file - with one secret all nodes tell an unknown name the same, whatever becomes of the users', async (t) => {
  const first = opened(t, secretLine(1) + line('ben'));
  const second = opened(t, line('ben') + secretLine(1));
  const before = first.told();
  assert.deepEqual(second.told(), before);
  assert.notDeepEqual(opened(t, secretLine(2) + line('ben')).told(), before, 'another secret');
  for (const lines of [line('ann') + line('ben'), line('ann'), line('zoe')]) {
    writeFileSync(first.path, secretLine(1) + lines);
    assert.equal(await first.look(), 'changed');
    assert.deepEqual(first.told(), before);
  }
});

test('scram file - a new secret is in use at once; without one nodes differ, and each stays the same', async (t) => {
  const { look, path, told } = opened(t);
  const own = told();
  assert.notDeepEqual(opened(t).told(), own, 'keys of users are no secret: who guesses a password knows them');
  writeFileSync(path, secretLine(1) + line('ann'));
  assert.equal(await look(), 'changed');
  const shared = told();
  assert.deepEqual(shared, opened(t, secretLine(1) + line('ann')).told());
  assert.notDeepEqual(shared, own);
  writeFileSync(path, line('ann') + line('ben'));
  assert.equal(await look(), 'changed');
  assert.deepEqual(told(), own);
});
