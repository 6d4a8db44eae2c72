/** The cache keeps its bound whatever the keys are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BoundedCache } from '../../src/bounded-cache.ts';

test('bounded cache - remembers until it is full, then forgets everything and goes on', () => {
  const cache = new BoundedCache<number>(1_000);
  for (let i = 0; i < 10; i++) cache.add(`key-${i}`, i);
  assert.equal(cache.get('key-0'), 0);
  assert.equal(cache.get('key-9'), 9);
  for (let i = 10; i < 20; i++) cache.add(`key-${i}`, i);
  assert.equal(cache.get('key-0'), undefined);
  assert.equal(cache.get('key-19'), 19);
});

test('bounded cache - long keys count by their length', () => {
  const cache = new BoundedCache<number>(10_000);
  for (let i = 0; i < 1_000; i++) cache.add(`${i}${'x'.repeat(3_000)}`, i);
  assert.ok(cache.size <= 3, `${cache.size} entries`);
  assert.equal(cache.get(`999${'x'.repeat(3_000)}`), 999);
});
