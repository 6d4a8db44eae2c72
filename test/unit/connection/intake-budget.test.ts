/** connection/intake-budget.ts: who is not read while all clients together have too much waiting, and when that ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
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

test('intake budget - when nothing is held any more nobody is left behind, and as many as have room go on at once', async () => {
  const budget = new IntakeBudget(256 * KIB);
  const publishers = Array.from({ length: 100 }, () => new Publisher());
  for (const publisher of publishers) budget.take(3 * KIB, publisher);
  const waiting = (): number => publishers.filter(({ isHeldBack }) => isHeldBack).length;
  let before = waiting();
  assert.equal(before, 15);
  budget.free(300 * KIB);
  assert.equal(budget.heldBytes, 0);
  while (before > 0) {
    const inThisTurn = before - waiting();
    assert.ok(inThisTurn > 0 && inThisTurn <= 4, `${inThisTurn} in one turn`);
    before = waiting();
    await nextTurn();
  }
});

test('intake budget - those behind wait for what the first have brought', async () => {
  const budget = new IntakeBudget(256 * KIB);
  const publishers = Array.from({ length: 20 }, () => new Publisher());
  const [first] = publishers;
  assert.ok(first !== undefined);
  budget.take(256 * KIB, first);
  for (const publisher of publishers) budget.take(1, publisher);
  budget.free(256 * KIB + publishers.length);
  budget.take(KIB, first);
  await nextTurn();
  await nextTurn();
  assert.equal(publishers.filter(({ isHeldBack }) => !isHeldBack).length, 4);
  budget.free(KIB);
  assert.equal(publishers.filter(({ isHeldBack }) => !isHeldBack).length, 8);
});

test('intake budget - a publisher that has gone is not told to go on', () => {
  const { budget, publishers } = crowd(5);
  const [gone] = publishers.slice(4);
  assert.ok(gone !== undefined);
  budget.forget(gone);
  budget.free(5 * 64 * KIB);
  assert.ok(gone.isHeldBack);
});
