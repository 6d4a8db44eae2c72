/** connection/connections.ts: publishers that the bus holds back, and how they go on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemClock } from '../../../src/clock.ts';
import type { Connection } from '../../../src/connection/connection.ts';
import { Connections } from '../../../src/connection/connections.ts';

/** What one turn of the event loop may let go on. */
const AT_MOST = 500;

interface Crowd {
  readonly connections: Connections;
  readonly publishers: readonly Connection[];
  /** Numbers of those that go on, in this order. */
  readonly resumed: number[];
  /** Called with each that goes on. */
  onResumed: (publisher: Connection) => void;
}

/** So many connections, all paused. */
function pausedCrowd(count: number): Crowd {
  const connections = new Connections(systemClock);
  const make = (_: unknown, number: number): Connection => {
    const resumeReading = (): void => {
      crowd.resumed.push(number);
      crowd.onResumed(publisher);
    };
    const publisher = { pauseReading: () => {}, resumeReading } as unknown as Connection; // all that it is asked for
    return publisher;
  };
  const publishers = Array.from({ length: count }, make);
  const crowd: Crowd = { connections, publishers, resumed: [], onResumed: () => {} };
  for (const publisher of publishers) connections.pause(publisher);
  return crowd;
}

/** Lets the event loop turn until so many have gone on. */
async function turnUntil(resumed: readonly number[], count: number): Promise<void> {
  for (let turns = 0; resumed.length < count; turns++) {
    assert.ok(turns < 1_000, `only ${resumed.length} of ${count} have gone on`);
    await nextTurn();
  }
}

const range = (count: number): number[] => Array.from({ length: count }, (_, number) => number);

test('connections - many that were paused go on in turns of the event loop, in their order, each once', async () => {
  const { connections, resumed } = pausedCrowd(2_000);
  let before = 0;
  connections.resumeAll();
  for (let turn = 0; turn === 0 || before < 2_000; turn++) {
    const inThisTurn = resumed.length - before;
    assert.ok(inThisTurn > 0 && inThisTurn <= AT_MOST, `${inThisTurn} in turn ${turn}`);
    before = resumed.length;
    await nextTurn();
  }
  assert.deepEqual(resumed, range(2_000));
  connections.stop();
});

test('connections - when the bus has enough again the others stay paused, and are the first to go on', async () => {
  const crowd = pausedCrowd(2_000);
  const { connections, publishers, resumed } = crowd;
  crowd.onResumed = (publisher) => {
    if (publisher === publishers[9]) connections.pause(publisher);
  };
  connections.resumeAll();
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  assert.deepEqual(resumed, range(10));
  connections.resumeAll();
  await turnUntil(resumed, 2_001);
  assert.deepEqual(resumed, [...range(2_000), 9]);
  connections.stop();
});

test('connections - the bus has enough between two turns and takes messages again: nobody is left out, no turn is larger', async () => {
  const { connections, publishers, resumed } = pausedCrowd(2_000);
  const [first] = publishers;
  assert.ok(first !== undefined);
  connections.resumeAll();
  const inOne = resumed.length;
  connections.pause(first);
  connections.resumeAll();
  assert.equal(resumed.length, inOne, 'in the same turn');
  await nextTurn();
  await nextTurn();
  assert.ok(resumed.length <= 3 * inOne, `${resumed.length} of ${inOne} a turn`);
  await turnUntil(resumed, 2_001);
  assert.deepEqual(resumed, [...range(2_000), 0]);
  connections.stop();
});

test('connections - one that has gone is not told to go on', async () => {
  const { connections, publishers, resumed } = pausedCrowd(1_000);
  connections.resumeAll();
  for (const publisher of publishers.slice(900)) connections.remove(publisher, false);
  await turnUntil(resumed, 900);
  for (let turn = 0; turn < 5; turn++) await nextTurn();
  assert.deepEqual(resumed, range(900));
  connections.stop();
});
