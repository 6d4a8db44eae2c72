/**
 * Claims that take each other's place before the first one has written its session: who is let in finds nothing half done. And in which order
 * they take it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Claimed } from '../../src/broker/ports.ts';
import { claimAt } from '../support/claim-at.ts';
import { claimNodes } from '../support/claim-nodes.ts';

/** Of the nodes, by number: the first has the client, then each of the others wants it while the first is still writing. */
const orders = [
  [0, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
  [0, 1, 1],
  [0, 1, 2],
] as const;
/** Long after a claim that did not wait would have been told that it has the client. */
const WRITING_MILLISECONDS = 600;

const node = claimNodes();

async function nothing(): Promise<void> {}

for (const order of orders)
  test(`who comes last waits for the session of the first, on nodes ${order.join(', ')}`, async () => {
    const clientId = `chain-${order.join('-')}`;
    let isWritten = false;
    let isAsked: () => void = () => {};
    const asked = new Promise<void>((resolve) => {
      isAsked = resolve;
    });
    const writing = async (): Promise<void> => {
      isAsked();
      await new Promise((resolve) => setTimeout(resolve, WRITING_MILLISECONDS));
      isWritten = true;
    };
    const claim = (index: number, yielded: () => Promise<void>): Promise<Claimed<boolean> | undefined> => {
      return claimAt(node(index), { clientId, yielded, look: async () => isWritten });
    };
    await claim(order[0], writing);
    // A connection that is not accepted yet holds nothing of its own.
    const second = claim(order[1], nothing);
    await asked;
    const third = await claim(order[2], nothing);
    assert.equal(await third?.found, true);
    third?.claim.release();
    (await second)?.claim.release();
  });

test('of two CONNECTs to one node the later one keeps the client, though the other was judged for longer', async () => {
  const clientId = 'judged';
  const lost: string[] = [];
  const claim = (name: string, arrival: number): Promise<Claimed<void> | undefined> => {
    const yielded = async (): Promise<void> => void lost.push(name);
    return claimAt(node(0), { clientId, arrival, yielded });
  };
  const [first, second] = [node(0).arrive(), node(0).arrive()];
  const held = await claim('second', second);
  (await claim('first', first))?.claim.release();
  assert.deepEqual(lost, ['first']);
  // It stays the one whose place others take.
  const last = await claimAt(node(1), { clientId });
  assert.deepEqual(lost, ['first', 'second']);
  held?.claim.release();
  last?.claim.release();
});

test('a user does not give way to nobody, nor anybody to a connection that has ended, though their CONNECT came later', async () => {
  for (const [index, holder] of [{ user: '' }, { user: 'ann', isGone: () => true }].entries()) {
    const clientId = `no way ${index}`;
    const lost: string[] = [];
    const losing = (name: string) => async (): Promise<void> => void lost.push(name);
    const arrival = node(0).arrive();
    await claimAt(node(0), { clientId, yielded: losing('later'), ...holder });
    const claimed = await claimAt(node(0), { clientId, arrival, user: 'ann', yielded: losing('earlier') });
    assert.deepEqual(lost, ['later']);
    claimed?.claim.release();
  }
});
