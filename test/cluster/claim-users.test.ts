/** A client that is connected stays, whoever else asks for its client id at the moment in which its node asks once more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { claimAt } from '../support/claim-at.ts';
import { claimNodes } from '../support/claim-nodes.ts';

const ASKING_MILLISECONDS = 1_000;
const CROSSINGS = 100;

const node = claimNodes();

for (const other of ['ben', ''])
  test(`a user who is asked about again keeps the client, while "${other}" wants it all the time`, async () => {
    const clientId = `wanted by ${other}`;
    let isLost = false;
    const yielded = async (): Promise<void> => {
      isLost = true;
    };
    const ann = await claimAt(node(0), { clientId, user: 'ann', yielded });
    const until = performance.now() + ASKING_MILLISECONDS;
    let asked = 0;
    while (performance.now() < until && !isLost) {
      node(0).reconnected();
      const claims = [1, 2, 3].map(() => claimAt(node(1), { clientId, user: other }));
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
    const asUser = (): Promise<unknown> => claimAt(node(0), { clientId, user: 'ann', yielded });
    const asNobody = (): Promise<unknown> => claimAt(node(1), { clientId });
    const both = round % 2 === 0 ? [asUser(), asNobody()] : [asNobody(), asUser()];
    const claimed = (await Promise.all(both))[round % 2];
    assert.notEqual(claimed, undefined, `round ${round}`);
    assert.equal(isLost, false, `round ${round}`);
  }
});
