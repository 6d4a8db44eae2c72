/** Claims that take each other's place before the first one has written its session: who is let in finds nothing half done. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Claimed } from '../../src/broker/ports.ts';
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
      return node(index).claim({ clientId, user: '', yielded, look: async () => isWritten });
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
