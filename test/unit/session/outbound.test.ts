/** session/outbound.ts: packet ids, the window, and what is remembered. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAXIMUM_AHEAD, Outbound } from '../../../src/session/outbound.ts';
import type { Reader } from '../../../src/session/reader.ts';

/** As much of a reader as an Outbound looks at. */
function readerAt(position: number): { position: number; isClosed: boolean } & Reader {
  return { position, isClosed: false } as { position: number; isClosed: boolean } & Reader;
}

test('outbound - packet ids begin at 1, go up, and begin again behind 65,535 past those in use', () => {
  const outbound = new Outbound(100);
  const kept = outbound.add(1, 1, []);
  assert.equal(kept.packetId, 1);
  for (let sequence = 2; sequence <= 65_535; sequence++) {
    const delivery = outbound.add(sequence, 1, []);
    assert.equal(delivery.packetId, sequence);
    outbound.finish(delivery);
  }
  assert.equal(outbound.add(70_000, 2, []).packetId, 2, '1 is in use, 0 is none');
  assert.equal(outbound.inFlight, 2);
});

test('outbound - a restored id is not given out again', () => {
  const outbound = new Outbound(100);
  outbound.restore(2, 10, 1, []);
  outbound.restore(1, 11, 2, []);
  assert.deepEqual([outbound.add(12, 1, []).packetId, outbound.add(13, 1, []).packetId], [3, 4]);
  assert.deepEqual(
    [...outbound.deliveries()].map(({ packetId, sequence }) => [packetId, sequence]),
    [
      [2, 10],
      [1, 11],
      [3, 12],
      [4, 13],
    ],
    'in the order of the record',
  );
});

test('outbound - room is what is left of the window, and never comes back twice', () => {
  const outbound = new Outbound(2);
  const first = outbound.add(1, 1, []);
  outbound.add(2, 2, []);
  assert.equal(outbound.room, 0);
  outbound.finish(first);
  outbound.finish(first);
  assert.equal(outbound.room, 1);
  assert.equal(outbound.get(1), undefined);
  for (let id = 10; id < 15; id++) outbound.restore(id, id, 1, []);
  assert.ok(outbound.room <= 0, 'more restored than the window allows');
});

test('outbound - nothing goes further than MAXIMUM_AHEAD past the oldest unacknowledged message', () => {
  const outbound = new Outbound(65_535);
  const oldest = outbound.add(1, 1, []);
  let sent = 0;
  while (outbound.room > 0) {
    outbound.finish(outbound.add(sent + 2, 1, []));
    sent++;
    assert.ok(sent <= MAXIMUM_AHEAD);
  }
  assert.equal(sent, MAXIMUM_AHEAD);
  outbound.finish(oldest);
  assert.equal(outbound.room, 65_535);
});

test('outbound - a message is known until every reader has passed it or is gone', () => {
  const outbound = new Outbound(10);
  const [slow, fast] = [readerAt(0), readerAt(50)];
  const delivery = outbound.add(20, 1, [slow, fast]);
  assert.ok(outbound.has(20));
  outbound.finish(delivery);
  assert.ok(outbound.has(20));
  assert.deepEqual(outbound.doneSequences(), [20]);
  slow.position = 19;
  outbound.prune();
  assert.ok(outbound.has(20));
  slow.position = 20;
  outbound.prune();
  assert.ok(!outbound.has(20));
  outbound.remember(60, [fast]);
  assert.deepEqual(outbound.doneSequences(), [60]);
  fast.isClosed = true;
  outbound.prune();
  assert.deepEqual(outbound.doneSequences(), []);
});

test('outbound - what is in flight is never forgotten, wherever the readers are', () => {
  const outbound = new Outbound(10);
  outbound.add(5, 2, [readerAt(100)]);
  outbound.prune();
  assert.ok(outbound.has(5));
  assert.deepEqual(outbound.doneSequences(), []);
});

test('outbound - a session that remembers too much gets nothing more until its readers move', () => {
  const outbound = new Outbound(100);
  const reader = readerAt(0);
  for (let sequence = 1; sequence <= 32_000; sequence++) outbound.remember(sequence, [reader]);
  assert.equal(outbound.room, 0);
  reader.position = 32_000;
  outbound.prune();
  assert.equal(outbound.room, 100);
});
