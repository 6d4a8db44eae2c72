/** When publishers are held back, by what nats-server has taken: its answers come when the test says so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NatsConnection } from 'nats';
import { pino } from 'pino';
import { systemClock } from '../../../src/clock.ts';
import { makeCounters } from '../../../src/counters.ts';
import { NatsBus } from '../../../src/nats/bus.ts';
import { RefusedSubscriptions } from '../../../src/nats/refused-subscriptions.ts';
import { SubjectMap } from '../../../src/nats/subject.ts';

const MIB = 1024 * 1024;

test('who is held back goes on when NATS has caught up, also when others published meanwhile', async () => {
  const answers: Array<() => void> = [];
  const connection = {
    info: { max_payload: MIB },
    publish() {},
    flush: () => new Promise<void>((resolve) => answers.push(resolve)),
  };
  let writable = 0;
  const counters = makeCounters();
  const bus = new NatsBus({
    connection: connection as unknown as NatsConnection, // what the bus calls while it publishes
    subjects: new SubjectMap(''),
    refusals: new RefusedSubscriptions({
      counters,
      clock: systemClock,
      log: pino({ level: 'silent' }),
      inboxPrefix: '_INBOX',
    }),
    counters,
    events: { connected() {}, disconnected() {}, writable: () => writable++ },
    maximumInFlightBytes: 2 * MIB,
  });
  const route = bus.route('a');
  assert.ok(route !== undefined);
  const payload = Buffer.alloc(MIB / 2);
  const publish = (): boolean => bus.publish(route, payload, undefined);
  for (let number = 0; number < 4; number++) if (!publish()) break;
  assert.equal(publish(), false, 'more than 2 MiB are under way');
  const answer = async (count: number): Promise<void> => {
    for (const resolve of answers.splice(0, count)) resolve();
    await new Promise(setImmediate);
  };
  await answer(3);
  assert.equal(writable, 0, 'a little more than 1 MiB is under way');
  assert.equal(publish(), false, 'a client that was not paused yet');
  await answer(answers.length);
  assert.equal(writable, 1);
  assert.equal(publish(), true);
});
