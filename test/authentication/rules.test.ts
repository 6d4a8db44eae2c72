/** What credentials bring along decides what their client may do: rules of a token and of the HTTP hook, groups of the file of passwords. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { SignJWT } from 'jose';
import { makePasswordLine } from '../../src/auth/password-hash.ts';
import { loggedIn, nodeFor, scratchFolder } from '../support/authentication.ts';
import type { TestNode } from '../support/node.ts';

const NOT_AUTHORIZED = 0x87;
const folder = scratchFolder();

/** As the credentials say: own topics and nothing else. */
async function isHeldTo(
  node: TestNode,
  credentials: { username: string; password: string },
  own: string,
): Promise<void> {
  const client = await loggedIn(node.tcp, { clientId: 'c1', ...credentials });
  assert.deepEqual(await client.subscribe(`${own}/#`, '#', 'others/x', '$share/g/others/#'), [
    0,
    NOT_AUTHORIZED,
    NOT_AUTHORIZED,
    NOT_AUTHORIZED,
  ]);
  client.publish('others/x', 'not allowed');
  client.publish(`${own}/x`, 'allowed');
  assert.deepEqual(await client.messages(1), [{ topic: `${own}/x`, payload: 'allowed' }]);
  const forbidden = await client.publishAcknowledged('others/x', 'not allowed', 1);
  assert.equal(forbidden, NOT_AUTHORIZED);
  await client.end();
}

test('rules - a token says what its client may do', async (t) => {
  const secret = 'a secret of more than thirty-two bytes';
  const secretFile = join(folder, 'secret');
  writeFileSync(secretFile, secret);
  const node = await nodeFor(t, {
    SUPERMQ_AUTH_JWT_SECRET_FILE: secretFile,
    SUPERMQ_AUTH_JWT_RULES_CLAIM: 'mqtt',
  });
  const mqtt = [{ allow: 'all', filter: 'devices/%c/#' }];
  const password = await new SignJWT({ sub: 'ann', mqtt })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1m')
    .sign(Buffer.from(secret));
  await isHeldTo(node, { username: 'ann', password }, 'devices/c1');
});

test('rules - the HTTP hook says what a client may do', async (t) => {
  const rules = [
    { deny: 'all', filter: 'users/%u/secret' },
    { allow: 'publish', filter: 'users/%u/x' },
    { allow: 'subscribe', filter: 'plant/%u/#' },
    { allow: 'all', filter: 'plant/%u/x' },
  ];
  const hook = createServer((request, response) => {
    request.resume().once('end', () => response.end(JSON.stringify({ result: 'allow', username: 'bob', rules })));
  }).listen(0, '127.0.0.1');
  await once(hook, 'listening');
  t.after(() => hook.close());
  const url = `http://127.0.0.1:${(hook.address() as AddressInfo).port}/`;
  const node = await nodeFor(t, { SUPERMQ_AUTH_HTTP_URL: url });
  await isHeldTo(node, { username: 'whoever', password: 'x' }, 'plant/bob');
});

test('rules - the groups of the file of passwords are those of the file of access rules', async (t) => {
  const users = join(folder, 'users');
  const rules = join(folder, 'acl.yaml');
  writeFileSync(users, `${makePasswordLine('eve', 'pencil', ['staff'])}\n`);
  writeFileSync(rules, "- who: { group: staff }\n  rules:\n    - { allow: all, filter: 'staff/#' }\n");
  const node = await nodeFor(t, { SUPERMQ_AUTH_PASSWORD_FILE: users, SUPERMQ_ACL_FILE: rules });
  await isHeldTo(node, { username: 'eve', password: 'pencil' }, 'staff');
});
