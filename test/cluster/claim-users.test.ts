/** A client that is connected stays, whoever else asks for its client id at the moment in which its node asks once more. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { systemClock } from '../../src/clock.ts';
import { NatsCluster } from '../../src/nats/cluster.ts';
import { connectWired } from '../../src/nats/wire/connect.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';

const ASKING_MILLISECONDS = 1_000;
const CROSSINGS = 100;

let nats: NatsServerProcess;
let first: NatsCluster;
let second: NatsCluster;

before(async () => {
  nats = await startNatsServer({ jetstream: false });
  const start = async (incarnation: string): Promise<NatsCluster> =>
    new NatsCluster({
      incarnation,
      connection: await connectWired({ servers: nats.url, noEcho: true }),
      clock: systemClock,
    });
  [first, second] = await Promise.all([start('one'), start('two')]);
});
after(async () => {
  await Promise.all([first.close(), second.close()]);
  await nats.stop();
});

async function nothing(): Promise<void> {}

for (const other of ['ben', ''])
  test(`a user who is asked about again keeps the client, while "${other}" wants it all the time`, async () => {
    const clientId = `wanted by ${other}`;
    let isLost = false;
    const yielded = async (): Promise<void> => {
      isLost = true;
    };
    const ann = await first.claim({ clientId, user: 'ann', yielded, look: nothing });
    const until = performance.now() + ASKING_MILLISECONDS;
    let asked = 0;
    while (performance.now() < until && !isLost) {
      first.reconnected();
      const claims = [1, 2, 3].map(() => second.claim({ clientId, user: other, yielded: nothing, look: nothing }));
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
    const asUser = (): Promise<unknown> => first.claim({ clientId, user: 'ann', yielded, look: nothing });
    const asNobody = (): Promise<unknown> => second.claim({ clientId, user: '', yielded: nothing, look: nothing });
    const both = round % 2 === 0 ? [asUser(), asNobody()] : [asNobody(), asUser()];
    const claimed = (await Promise.all(both))[round % 2];
    assert.notEqual(claimed, undefined, `round ${round}`);
    assert.equal(isLost, false, `round ${round}`);
  }
});
