/** The table of what further nodes cost: each measurement is compared with the one beside it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FurtherNodesPoint, furtherNodesTable } from '../../bench/further-nodes-table.ts';

function point(active: number, further: number, [alone, edgeCpu]: readonly [number, number]): FurtherNodesPoint {
  const here = { nats: 1, round: 1, scenario: 'pair', active, further };
  const same = { publishedRate: 1_000, natsCpu: 3 };
  return { ...here, figures: { ...same, edgeCpu }, alone: { ...same, edgeCpu: alone } };
}

test('a time in which all was slower does not make further nodes look dear', () => {
  const lines = furtherNodesTable([point(1, 7, [2, 2.2]), point(1, 7, [8, 8.8])]).split('\n');
  assert.deepEqual(lines.slice(2), ['| pair | 1 | 7 | 2 | 1,000 | 5 (2–8) | 5.5 (2.2–8.8) | 1.1 | 3 | 3 | 1 |']);
});

test('rows come by active and further nodes', () => {
  const lines = furtherNodesTable([point(2, 6, [1, 1]), point(1, 7, [1, 2]), point(1, 1, [1, 3])]).split('\n');
  assert.deepEqual(
    lines.slice(2).map((line) => line.split(' | ').slice(1, 3)),
    [
      ['1', '1'],
      ['1', '7'],
      ['2', '6'],
    ],
  );
});
