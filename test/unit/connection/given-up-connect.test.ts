/** A CONNECT whose network connection ends before CONNACK: what was stored of the client is as it was. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../support/eventually.ts';
import { connectPacket, RawClient } from '../../support/raw-client.ts';
import { startWiredNode } from '../../support/wired-node.ts';

test('connect - one that is given up does not end the session that it would have resumed', async () => {
  const node = await startWiredNode();
  const kept = { version: 5, clientId: 'kept', clean: false, properties: { sessionExpiryInterval: 600 } } as const;
  const first = await RawClient.connect(node.tcp, kept);
  await first.subscribe({ topic: 'kept', qos: 1 });
  await first.end();
  // The session is claimed, and the answer of the store is on its way.
  let answer = (): void => {};
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  let isClaimed = false;
  node.store.after = () => {
    isClaimed = true;
    return answered;
  };
  const given = await RawClient.open(node.tcp, 5);
  given.send(connectPacket({ version: 5, clientId: 'kept', clean: false }));
  await eventually(() => isClaimed);
  await given.abort();
  await eventually(() => node.connections.size === 0);
  answer();
  const back = await RawClient.connect(node.tcp, kept);
  assert.equal(back.connack.sessionPresent, true);
  await back.end();
  await node.stop();
});
