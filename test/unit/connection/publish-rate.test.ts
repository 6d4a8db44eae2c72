/** connection/publish-rate.ts: when a client has used up what a second allows, and for how long it has to wait. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PublishRate } from '../../../src/connection/publish-rate.ts';

function publish(rate: PublishRate, count: number): void {
  for (let i = 0; i < count; i++) rate.published();
}

test('publish rate - messages: a burst of a second, then what time brings', () => {
  const rate = new PublishRate({ publishesPerSecond: 10, publishBytesPerSecond: 0 }, 0);
  publish(rate, 9);
  assert.equal(rate.spent, undefined);
  publish(rate, 1);
  assert.equal(rate.spent, 'publishesPerSecond');
  assert.equal(rate.pauseFor(), 100);
  rate.received(1_000_000, 99);
  assert.equal(rate.spent, 'publishesPerSecond');
  rate.received(0, 100);
  assert.equal(rate.spent, undefined);
  rate.received(0, 60_000);
  publish(rate, 10);
  assert.equal(rate.spent, 'publishesPerSecond');
});

test('publish rate - bytes: a chunk may be too much, and is waited for', () => {
  const rate = new PublishRate({ publishesPerSecond: 0, publishBytesPerSecond: 1_000 }, 0);
  rate.received(1_000, 0);
  publish(rate, 1_000_000);
  assert.equal(rate.spent, undefined);
  rate.received(3_000, 0);
  assert.equal(rate.spent, 'publishBytesPerSecond');
  assert.equal(rate.pauseFor(), 3_000);
  rate.received(0, 3_000);
  assert.equal(rate.spent, undefined);
});

test('publish rate - a pause is never too short to be worth it', () => {
  const rate = new PublishRate({ publishesPerSecond: 100_000, publishBytesPerSecond: 0 }, 0);
  publish(rate, 100_000);
  assert.equal(rate.pauseFor(), 50);
});
