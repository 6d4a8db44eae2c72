/** A client that is connected stays, whoever else asks for its client id at the moment in which its node asks once more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { claimNodes } from '../support/claim-nodes.ts';

const ASKING_MILLISECONDS = 1_000;
const CROSSINGS = 100;

const node = claimNodes();

async function nothing(): Promise<void> {}

for (const other of ['ben', ''])
  test(`a user who is asked about again keeps the client, while "${other}" wants it all the time`, async () => {
    const clientId = `wanted by ${other}`;
    let isLost = false;
    const yielded = async (): Promise<void> => {
      isLost = true;
    };
    const ann = await node(0).claim({ clientId, user: 'ann', yielded, look: nothing });
    const until = performance.now() + ASKING_MILLISECONDS;
    let asked = 0;
    while (performance.now() < until && !isLost) {
      node(0).reconnected();
      const claims = [1, 2, 3].map(() => node(1).claim({ clientId, user: other, yielded: nothing, look: nothing }));
      for (const claimed of await Promise.all(claims)) claimed?.claim.release();
      asked++;
    }
    assert.equal(isLost, false, `after ${asked} times`);
    ann?.claim.release();
  });

test('of a user and nobody who cross each other the user is left', async () => {
  for (let round = 0; round < CROSSINGS; round++) {
    const clientId = `crossing-${round}`;
    let isLost = false;
    const yielded = async (): Promise<void> => {
      isLost = true;
    };
    const asUser = (): Promise<unknown> => node(0).claim({ clientId, user: 'ann', yielded, look: nothing });
    const asNobody = (): Promise<unknown> => node(1).claim({ clientId, user: '', yielded: nothing, look: nothing });
    const both = round % 2 === 0 ? [asUser(), asNobody()] : [asNobody(), asUser()];
    const claimed = (await Promise.all(both))[round % 2];
    assert.notEqual(claimed, undefined, `round ${round}`);
    assert.equal(isLost, false, `round ${round}`);
  }
});
