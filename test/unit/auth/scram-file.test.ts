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

/** An open file with one user, and a way to have it looked at: resolves with what that has come to. */
function opened(t: TestContext): { path: string; count: () => number; look: () => Promise<string> } {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-users-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'users');
  writeFileSync(path, line('ann'));
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
  return { path, look, count: () => file.users.count };
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
