/** auth/scram-users.ts: what is made up for names that are not there stays the same where that of users would. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScramCredentials } from '../../../src/auth/scram-credentials.ts';
import { ScramUsers } from '../../../src/auth/scram-users.ts';

const key = Buffer.alloc(32, 1);

function user(iterations: number, saltBytes: number): ScramCredentials {
  return { iterations, salt: Buffer.alloc(saltBytes, 2), storedKey: key, serverKey: key };
}

/** As many of each kind as told, a name each. */
function usersOf(...kinds: ReadonlyArray<readonly [count: number, credentials: ScramCredentials]>) {
  const all = kinds.flatMap(([count, credentials]) => Array.from({ length: count }, () => credentials));
  return new Map(all.map((credentials, i) => [`user-${i}`, credentials] as const));
}

const strangers = Array.from({ length: 1000 }, (_, i) => `nobody-${i}`);

function told(users: ScramUsers): readonly string[] {
  return strangers.map((name) => {
    const { iterations, salt } = users.credentialsOf(name);
    return `${iterations} ${salt.toString('base64')}`;
  });
}

function changes(before: readonly string[], after: readonly string[]): number {
  return before.filter((text, i) => text !== after[i]).length;
}

const old = user(4096, 16);
const young = user(15_000, 20);

test('scram users - a user more changes the challenges of few unknown names, the order of the users none', () => {
  const users = new ScramUsers(usersOf([30, old], [70, young]));
  const before = told(users);
  users.replace(usersOf([70, young], [30, old]));
  assert.deepEqual(told(users), before);
  users.replace(usersOf([71, young], [30, old]));
  assert.ok(changes(before, told(users)) <= 20, `${changes(before, told(users))} of 1000 have changed`);
});

test('scram users - unknown names have the kinds of challenges that users have, as often', () => {
  const all = told(new ScramUsers(usersOf([30, old], [70, young])));
  const share = all.filter((text) => text.startsWith('4096 ')).length;
  assert.ok(share > 200 && share < 400, `${share} of 1000`);
});

test('scram users - an unknown name with another kind of challenge has another salt, as a user with a new password', () => {
  const users = new ScramUsers(usersOf([1, old]));
  const before = told(users);
  users.replace(usersOf([1, user(15_000, 16)]));
  const salts = (all: readonly string[]) => new Set(all.map((text) => text.split(' ')[1]));
  assert.equal(new Set([...salts(before), ...salts(told(users))]).size, 2000);
});
