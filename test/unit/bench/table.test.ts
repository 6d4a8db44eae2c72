/** The generated tables of the benches: medians, spreads, failures and comparisons. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cell, comparison, median, type Outcome, type Row, table } from '../../bench/table.ts';

function round(alone: number, withNats = alone): Outcome {
  return { figures: { 'messages/s': Number.NaN, 'per CPU-s': alone, 'per CPU-s with NATS': withNats } };
}

const rows: readonly Row[] = [
  { peer: 'supermq', rounds: [round(300_000, 200_000), round(500_000, 250_000), round(400_000, 210_000)] },
  { peer: 'mosquitto', rounds: [round(40_000), { failed: 'subscription refused' }, round(42_000)] },
  { peer: 'nats-server mqtt', rounds: [{ failed: 'it hung' }, { failed: 'it hung' }, { failed: 'it hung' }] },
];

test('the median of an even number of rounds is the mean of both middle ones, and what was not measured is left out', () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([4, 1, 2, 9]), 3);
  assert.equal(median([Number.NaN, 7]), 7);
  assert.ok(Number.isNaN(median([])));
});

test('a cell is the median with least and most, without them where nothing differs', () => {
  assert.equal(cell([1_200, 1_000, 1_500.4]), '1,200 (1,000–1,500)');
  assert.equal(cell([0, 0]), '0');
  assert.equal(cell([0.111, 0.25, 0.2]), '0.2 (0.11–0.25)');
  assert.equal(cell([Number.NaN]), '');
});

test('a table has the columns that something was measured for, and one row for each server', () => {
  const lines = table('pair', rows).split('\n');
  assert.equal(lines[0], '| pair | per CPU-s | per CPU-s with NATS |');
  assert.equal(lines[1], '|---|---:|---:|');
  assert.equal(lines[2], '| supermq | 400,000 (300,000–500,000) | 210,000 (200,000–250,000) |');
});

test('a server that failed in some rounds keeps the figures of the others, one that always failed has none; both say why', () => {
  const text = table('pair', rows);
  assert.match(text, /^\| mosquitto \| 41,000 \(40,000–42,000\) /m);
  assert.match(text, /^mosquitto failed in 1 of 3 rounds: subscription refused\.$/m);
  assert.match(text, /^\| nats-server mqtt \| – \| – \|$/m);
  assert.match(text, /^nats-server mqtt failed: it hung\.$/m);
});

test('supermq is compared with the servers that have figures, by medians', () => {
  assert.equal(
    comparison(rows),
    'Per CPU-s, supermq is 9.76 × mosquitto; with its nats-server counted in 5.12 × mosquitto.',
  );
});

test('nothing is compared where nobody else has figures', () => {
  assert.equal(comparison(rows.slice(0, 1)), '');
});
