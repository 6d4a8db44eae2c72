/** Wills that wait: in the order of their times, one place each, bounded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DueQueue, type WaitingWill } from '../../../src/session/due-queue.ts';

function will(clientId: string, at: number, owner = 'owner'): WaitingWill {
  return { owner, clientId, id: `${clientId} at ${at}`, at, dueAt: at, isDiscarded: false };
}

test('takes what is due and nothing else, earliest first, the latest word on each client', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), client: fc.integer({ min: 0, max: 20 }), at: fc.nat(50) }),
    fc.record({ kind: fc.constant('cancel' as const), client: fc.integer({ min: 0, max: 20 }), at: fc.constant(0) }),
    fc.record({ kind: fc.constant('take' as const), client: fc.integer({ min: 1, max: 5 }), at: fc.nat(50) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new DueQueue(15);
      const model = new Map<string, WaitingWill>();
      for (const { at, client, kind } of steps) {
        const clientId = String(client);
        if (kind === 'add') {
          const hasRoom = model.has(clientId) || model.size < 15;
          assert.equal(queue.add(will(clientId, at)), hasRoom);
          if (hasRoom) model.set(clientId, will(clientId, at));
        } else if (kind === 'cancel') {
          queue.cancel('owner', clientId);
          model.delete(clientId);
        } else {
          const due = [...model.values()].filter((waiting) => waiting.at <= at).map((waiting) => waiting.at);
          const taken = queue.take(at, client);
          assert.deepEqual(
            taken.map((waiting) => waiting.at),
            due.sort((a, b) => a - b).slice(0, client),
          );
          for (const waiting of taken) {
            assert.deepEqual(waiting, model.get(waiting.clientId));
            model.delete(waiting.clientId);
          }
        }
        assert.equal(queue.size, model.size);
      }
    }),
  );
});

test('keeps clients of several owners apart, and forgets all when it is told', () => {
  const queue = new DueQueue(10);
  queue.add(will('a', 1, 'one'));
  queue.add(will('a', 2, 'two'));
  queue.cancel('one', 'a');
  assert.deepEqual(queue.take(5, 10), [will('a', 2, 'two')]);
  queue.add(will('b', 1));
  queue.clear();
  assert.deepEqual(queue.take(5, 10), []);
});
