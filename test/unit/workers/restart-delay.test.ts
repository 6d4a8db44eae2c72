/** How soon a worker that has ended is started again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { restartDelay } from '../../../src/workers/restart-delay.ts';

test('workers - a worker that ends again and again is started later each time, after 30 s at most', () => {
  const delays: number[] = [];
  for (let life = 0; life < 7; life++) delays.push(restartDelay(delays.at(-1) ?? 0, 100));
  assert.deepEqual(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
});

test('workers - one that had lived for a minute is started after a second again', () => {
  assert.equal(restartDelay(30_000, 59_000), 30_000);
  assert.equal(restartDelay(30_000, 60_000), 1_000);
});
