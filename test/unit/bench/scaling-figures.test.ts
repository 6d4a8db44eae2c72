/** What a message costs, from running totals: the idle share is taken off, and rows are compared with one node. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Counters,
  idleTable,
  type Point,
  perMessage,
  perSecond,
  scalingTable,
} from '../../bench/scaling-figures.ts';

const none: Counters = {
  seconds: 0,
  edgeCpu: 0,
  natsCpu: 0,
  published: 0,
  delivered: 0,
  natsIn: 0,
  natsOut: 0,
  natsInBytes: 0,
  natsOutBytes: 0,
  routed: 0,
  storedBytes: 0,
};

function point(nodes: number, rate: number, edge: number): Point {
  return { nats: 1, nodes, scenario: 'pair', rate, figures: { 'edge µs': edge, 'over routes': 0 } };
}

test('totals become growth per second', () => {
  const from = { ...none, seconds: 10, edgeCpu: 100, published: 7 };
  const growth = perSecond(from, { ...from, seconds: 14, edgeCpu: 500, published: 4_007 });
  assert.equal(growth.edgeCpu, 100);
  assert.equal(growth.published, 1_000);
});

test('figures per message leave out what idle nodes do', () => {
  const idle = { ...none, edgeCpu: 1_000, natsOut: 10 };
  const figures = perMessage({ ...none, edgeCpu: 21_000, natsOut: 810, published: 100 }, idle);
  assert.equal(figures['edge µs'], 200);
  assert.equal(figures['NATS out'], 8);
});

test('edge CPU is compared with one node at the same rate, and at the same rate for each node', () => {
  const points = [point(8, 4_000, 120), point(1, 4_000, 60), point(1, 500, 100), point(8, 4_000, 130)];
  const lines = scalingTable(points).split('\n');
  assert.equal(lines[0], '| nodes | rate/s | edge µs | × 1 node, same rate | × 1 node, same rate each |');
  assert.deepEqual(lines.slice(2), [
    '| 1 | 500 | 100 | 1.00 | 1.00 |',
    '| 1 | 4000 | 60 | 1.00 | 1.00 |',
    '| 8 | 4000 | 125 (120–130) | 2.08 | 1.25 |',
  ]);
});

test('saturated runs come last and are compared with each other', () => {
  const lines = scalingTable([point(1, 0, 2), point(1, 500, 100), point(2, 0, 3), point(2, 500, 90)]).split('\n');
  assert.deepEqual(lines.slice(2), [
    '| 1 | 500 | 100 | 1.00 | 1.00 |',
    '| 1 | saturated | 2 | 1.00 | 1.00 |',
    '| 2 | 500 | 90 | 0.90 |  |',
    '| 2 | saturated | 3 | 1.50 | 1.50 |',
  ]);
});

test('idle figures are one row for each number of nodes', () => {
  const points = [1, 2].map((nodes) => ({ ...point(nodes, 0, 0), figures: { 'NATS in/s': nodes * 1.25 } }));
  assert.deepEqual(idleTable(points).split('\n').slice(2), ['| 1 | 1.25 |', '| 2 | 2.5 |']);
});
