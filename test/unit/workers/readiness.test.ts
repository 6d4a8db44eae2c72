/** What /readyz of several workers says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeReadiness, type WorkerReport } from '../../../src/workers/readiness.ts';

/** A worker that serves and is ready, but for `fields`. */
function worker(index: number, fields: Partial<WorkerReport> = {}): WorkerReport {
  return { index, state: 'serving', hasServed: true, missing: undefined, ...fields };
}

test('workers - ready when all are', () => {
  assert.deepEqual(judgeReadiness([worker(0), worker(1)]), { isReady: true, text: 'ready' });
});

test('workers - at the first start all are waited for', () => {
  const late = worker(1, { state: 'starting', hasServed: false, missing: 'waiting for NATS' });
  assert.deepEqual(judgeReadiness([worker(0), late]), { isReady: false, text: 'worker 1: waiting for NATS' });
  const first = worker(1, { state: 'down', hasServed: false, missing: 'no answer' });
  assert.equal(judgeReadiness([worker(0), first]).isReady, false);
});

test('workers - one that gets no connections while it is started again does not matter as long as another serves', () => {
  for (const [state, reason] of [
    ['down', 'ended, to be started again'],
    ['starting', 'starting'],
    ['stopping', 'stopping'],
  ] as const) {
    const { missing } = worker(1);
    const other = worker(1, { state, missing });
    assert.deepEqual(judgeReadiness([worker(0), other]), { isReady: true, text: `ready, without worker 1: ${reason}` });
    assert.equal(judgeReadiness([worker(0, { state: 'down' }), other]).isReady, false, 'none serves');
  }
});

test('workers - one that gets connections and would refuse them makes all not ready', () => {
  const deaf = worker(1, { missing: 'not connected to NATS' });
  assert.deepEqual(judgeReadiness([worker(0), deaf]), { isReady: false, text: 'worker 1: not connected to NATS' });
});
