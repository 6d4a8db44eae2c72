/** connection/access-review.ts and denials.ts: credentials that are renewed with other rules, and how often denials are told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Packet } from 'mqtt-packet';
import type { Logger } from 'pino';
import { type AccessRule, readRules } from '../../../src/access/rule.ts';
import { anonymousLink } from '../../../src/auth/anonymous.ts';
import type { Authenticator } from '../../../src/auth/authenticator.ts';
import { authenticationChain } from '../../../src/auth/chain.ts';
import { userNamed } from '../../../src/auth/identity.ts';
import { systemClock } from '../../../src/clock.ts';
import { Denials } from '../../../src/connection/denials.ts';
import { makeCounters } from '../../../src/counters.ts';
import { RawClient } from '../../support/raw-client.ts';
import { startWiredNode } from '../../support/wired-node.ts';

const METHOD = 'TEST';

function rulesFor(filter: string): readonly AccessRule[] {
  return readRules([{ allow: 'all', filter }]);
}

/** Each exchange succeeds at once, with the next of these rules. */
function authenticatorWith(rules: ReadonlyArray<readonly AccessRule[]>): Authenticator {
  let next = 0;
  const begin: Authenticator['begin'] = () => ({
    step: async () => {
      const identity = { ...userNamed('ann'), rules: rules[next++] };
      return { kind: 'success', identity, data: undefined };
    },
  });
  return { ...authenticationChain({ links: [anonymousLink(false)], judged: () => {} }), begin };
}

test('access review - renewed credentials bring their rules: messages follow them at once, and what is left over ends the connection', async () => {
  const authenticator = authenticatorWith([rulesFor('a/#'), rulesFor('a/x'), rulesFor('b')]);
  const node = await startWiredNode({ authenticator });
  const client = await RawClient.connect(node.tcp, { version: 5, properties: { authenticationMethod: METHOD } });
  const renew = (): void =>
    client.send({ cmd: 'auth', reasonCode: 0x19, properties: { authenticationMethod: METHOD } } as Packet);
  assert.deepEqual(await client.subscribe('a/x', 'b'), [0, 0x87]);
  client.publish('a/y', 'allowed');
  await client.ping();
  assert.equal(node.counters.denied.publish, 0);
  renew();
  assert.equal((await client.next('auth')).reasonCode, 0);
  client.publish('a/y', 'denied');
  client.publish('a/x', 'allowed');
  await client.messages(1);
  assert.equal(node.counters.denied.publish, 1);
  renew();
  assert.equal(await client.closingReason(), 0x87);
  assert.equal(node.counters.denied.revoke, 1);
  await node.stop();
});

test('denials - are counted by action and told once a second, the last line with all that came since', () => {
  const lines: unknown[] = [];
  let pass = (): void => {};
  const after = (_: number, task: () => void): (() => void) => {
    pass = task;
    return () => {};
  };
  const { denied } = makeCounters();
  const log = { warn: (fields: { count: number }) => lines.push(fields.count) } as unknown as Logger; // all that it uses
  const denials = new Denials(denied, { ...systemClock, after }, log);
  for (let i = 0; i < 5; i++) denials.count(i < 2 ? 'publish' : 'will', 'c');
  assert.deepEqual(lines, [1]);
  pass();
  assert.deepEqual(lines, [1, 4]);
  pass();
  denials.count('publish', 'c');
  assert.deepEqual(lines, [1, 4, 1]);
  assert.deepEqual([denied.publish, denied.will], [3, 3]);
});
