/** Claims of one client id that cross each other, several on each of two nodes: exactly one is left, however they interleave. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Claim } from '../../src/broker/ports.ts';
import { claimAt } from '../support/claim-at.ts';
import { claimNodes } from '../support/claim-nodes.ts';
import { poll } from '../support/poll.ts';

const ROUNDS = 600;
const CLAIMS = 6;

const node = claimNodes();

/** Resolves after so many turns of the event loop: claims meet in another state each time. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

test(`[MQTT5 3.1.4-3] [MQTT311 3.1.4-2] of ${CLAIMS} claims that cross each other on two nodes exactly one is left, ${ROUNDS} times`, async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const alive = new Set<number>();
    // The client has just left another node, which still listens for a while.
    (await claimAt(node(2), { clientId: `race-${round}` }))?.claim.release();
    const claim = async (index: number): Promise<Claim> => {
      await turns(((round >> index) & 3) * index);
      alive.add(index);
      const yielded = async (): Promise<void> => {
        await turns(round % 3);
        alive.delete(index);
      };
      const claimed = await claimAt(node(index % 2), { clientId: `race-${round}`, yielded });
      assert.ok(claimed !== undefined);
      return claimed.claim;
    };
    const claims = await Promise.all(Array.from({ length: CLAIMS }, (_, index) => claim(index)));
    await poll(async () => alive.size <= 1, {
      what: `one claim of round ${round}, not ${[...alive]}`,
      timeoutMs: 20_000,
    });
    assert.equal(alive.size, 1, `round ${round}`);
    for (const each of claims) each.release();
  }
});
