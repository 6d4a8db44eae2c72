/** connection/intake-budget.ts: who is not read while all clients together have too much waiting, and when that ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IntakeBudget, type Publishing } from '../../../src/connection/intake-budget.ts';

const KIB = 1024;

class Publisher implements Publishing {
  isHeldBack = false;

  holdBack(): void {
    this.isHeldBack = true;
  }

  goOn(): void {
    this.isHeldBack = false;
  }
}

/** So many publishers, each with 64 KiB in a budget of 256 KiB. */
function crowd(count: number): { readonly budget: IntakeBudget; readonly publishers: readonly Publisher[] } {
  const budget = new IntakeBudget(256 * KIB);
  const publishers = Array.from({ length: count }, () => new Publisher());
  for (const publisher of publishers) budget.take(64 * KIB, publisher);
  return { budget, publishers };
}

const heldBack = (publishers: readonly Publisher[]): boolean[] => publishers.map(({ isHeldBack }) => isHeldBack);

test('intake budget - up to the limit nobody is held back, above it whoever publishes', () => {
  const { publishers } = crowd(6);
  assert.deepEqual(heldBack(publishers), [false, false, false, false, true, true]);
});

test('intake budget - they go on in turn, one for each chunk that is freed below the limit', () => {
  const { budget, publishers } = crowd(7);
  budget.free(128 * KIB);
  assert.deepEqual(heldBack(publishers.slice(4)), [true, true, true], 'still above the limit');
  budget.free(64 * KIB);
  assert.deepEqual(heldBack(publishers.slice(4)), [false, true, true]);
  budget.free(32 * KIB);
  assert.deepEqual(heldBack(publishers.slice(4)), [false, true, true]);
  budget.free(32 * KIB);
  assert.deepEqual(heldBack(publishers.slice(4)), [false, false, true]);
});

test('intake budget - nobody is left behind when nothing is held any more', () => {
  const budget = new IntakeBudget(256 * KIB);
  const publishers = Array.from({ length: 100 }, () => new Publisher());
  for (const publisher of publishers) budget.take(3 * KIB, publisher);
  budget.free(300 * KIB);
  assert.equal(budget.heldBytes, 0);
  assert.ok(publishers.every(({ isHeldBack }) => !isHeldBack));
});

test('intake budget - a publisher that has gone is not told to go on', () => {
  const { budget, publishers } = crowd(5);
  const [gone] = publishers.slice(4);
  assert.ok(gone !== undefined);
  budget.forget(gone);
  budget.free(5 * 64 * KIB);
  assert.ok(gone.isHeldBack);
});
