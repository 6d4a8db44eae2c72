/** The table of what further nodes cost: each round is compared with its own smallest cluster. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FurtherNodesPoint, furtherNodesTable } from '../../bench/further-nodes-table.ts';

function point(round: number, active: number, further: number, edge: number): FurtherNodesPoint {
  return { nats: 1, round, scenario: 'pair', active, further, figures: { 'edge µs': edge } };
}

test('a round in which all was slower does not make further nodes look dear', () => {
  const points = [point(2, 1, 7, 8), point(1, 1, 0, 2), point(1, 1, 7, 2), point(2, 1, 0, 8)];
  const lines = furtherNodesTable(points).split('\n');
  assert.equal(lines[0], '| scenario | active nodes | further nodes | edge µs | × no further, edge µs |');
  assert.deepEqual(lines.slice(2), ['| pair | 1 | 0 | 5 (2–8) | 1 |', '| pair | 1 | 7 | 5 (2–8) | 1 |']);
});

test('one and two active nodes are compared with themselves', () => {
  const lines = furtherNodesTable([point(1, 2, 0, 3), point(1, 2, 6, 6), point(1, 1, 0, 1), point(1, 1, 7, 1.5)]).split(
    '\n',
  );
  assert.deepEqual(lines.slice(2), [
    '| pair | 1 | 0 | 1 | 1 |',
    '| pair | 1 | 7 | 1.5 | 1.5 |',
    '| pair | 2 | 0 | 3 | 1 |',
    '| pair | 2 | 6 | 6 | 2 |',
  ]);
});

test('a round without its smallest cluster is compared with nothing', () => {
  const lines = furtherNodesTable([point(1, 1, 7, 2)]).split('\n');
  assert.equal(lines[2], '| pair | 1 | 7 | 2 |  |');
});
