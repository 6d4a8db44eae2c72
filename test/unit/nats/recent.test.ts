/** nats/recent.ts: what was added last is known, what was added long ago is not, and a position that is used again is another message. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentMessages } from '../../../src/nats/recent.ts';

test('recent messages - at least as many as said, at most twice as many', () => {
  const recent = new RecentMessages(100);
  for (let sequence = 1; sequence <= 1_000; sequence++) {
    recent.add(sequence, sequence * 7);
    const known = (back: number): boolean => recent.has(sequence - back, (sequence - back) * 7);
    for (let back = 0; back < Math.min(100, sequence); back++) assert.ok(known(back), `${back} back at ${sequence}`);
    assert.ok(!known(200));
  }
});

test('recent messages - the same position with another time is another message', () => {
  const recent = new RecentMessages(10);
  recent.add(5, 1);
  assert.deepEqual([recent.has(5, 1), recent.has(5, 2), recent.has(6, 1)], [true, false, false]);
});
