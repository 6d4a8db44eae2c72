/** Retained copies of a session over a log that forgets, and beside live messages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RetainedPage, RetainedStore } from '../../../src/broker/ports.ts';
import { makeTopic } from '../../../src/message.ts';
import {
  type Bench,
  type MadeSession,
  makeBench,
  makeSession,
  settle,
  subscribe,
} from '../../support/session-harness.ts';

const extras = { properties: Buffer.alloc(0), retain: true, origin: '' };

/** A store whose pages come when a test says so. */
class SlowStore implements RetainedStore {
  found: RetainedPage = { messages: [], next: undefined };
  readonly #waiting: Array<() => void> = [];

  put(): void {}

  async page(): Promise<RetainedPage> {
    const page = this.found;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return page;
  }

  answer(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  close(): void {}
}

/** One retained message, which the log has at its position too. */
function withRetained(bench: Bench, topic: string, payload: string): SlowStore {
  const { sequence } = bench.log.append(topic, { payload, extras });
  const store = new SlowStore();
  store.found = {
    messages: [
      {
        position: 1,
        sequence,
        topic: makeTopic(topic),
        payload: Buffer.from(payload),
        qos: 1,
        extras,
        expirySeconds: undefined,
        storedAt: 0,
      },
    ],
    next: undefined,
  };
  return store;
}

function read({ session }: MadeSession, { log }: Bench, filter: string): void {
  session.oweRetained(filter);
  session.readRetained(filter, { until: log.records.length, since: 0 });
}

test('retained - a newer message that came through an overlapping subscription is not followed by the older retained one', async () => {
  const bench = makeBench();
  const retained = withRetained(bench, 'a/b', 'old');
  const made = makeSession(bench, { retained });
  made.session.start(0);
  await subscribe(made, bench, 'a/#', 1);
  await subscribe(made, bench, 'a/b', 1);
  read(made, bench, 'a/b');
  await settle();
  bench.log.append('a/b', { payload: 'new', extras });
  await settle();
  retained.answer();
  await settle();
  assert.deepEqual(made.outlet.payloads, ['new']);
});

test('retained - a copy in flight whose message has left the log goes again with its packet id on the next connection', async () => {
  const bench = makeBench();
  const retained = withRetained(bench, 'r/1', 'config');
  const first = makeSession(bench, { retained });
  first.session.start(0);
  await subscribe(first, bench, 'r/#', 1);
  read(first, bench, 'r/#');
  await settle();
  retained.answer();
  await settle();
  const [sent] = first.outlet.publishes;
  assert.equal(sent?.payload.toString(), 'config');
  const record = first.session.snapshot(1);
  first.session.abandon();
  bench.log.readAt = async () => undefined;
  const second = makeSession(bench, { retained, record, epoch: 2 });
  second.session.start(0);
  await settle(20);
  retained.answer();
  await settle(20);
  const [again, ...others] = second.outlet.publishes;
  assert.deepEqual([again?.payload.toString(), again?.messageId, again?.dup], ['config', sent?.messageId, true]);
  assert.deepEqual(others, []);
});

test('retained - QoS 0 subscriptions of a resumed session get nothing before CONNACK [MQTT5 3.2.0-1]', async () => {
  const bench = makeBench();
  const first = makeSession(bench);
  first.session.start(0);
  await subscribe(first, bench, 'b', 0);
  await subscribe(first, bench, 'a', 1);
  await settle();
  const record = first.session.snapshot(1);
  first.session.abandon();
  const second = makeSession(bench, { record, epoch: 2 });
  await settle();
  bench.log.append('b', { payload: 'early' });
  await settle();
  assert.deepEqual(second.outlet.payloads, []);
});

test('retained - a PUBREL that is owed for a copy without a position hides no other message without one', async () => {
  const bench = makeBench();
  const retained = new SlowStore();
  const copyOf = (position: number, topic: string): RetainedPage['messages'][number] => ({
    position,
    sequence: 0,
    topic: makeTopic(topic),
    payload: Buffer.from(topic),
    qos: 2,
    extras,
    expirySeconds: undefined,
    storedAt: 0,
  });
  retained.found = { messages: [copyOf(1, 'n/1')], next: undefined };
  const first = makeSession(bench, { retained });
  first.session.start(0);
  await subscribe(first, bench, 'n/#', 2);
  read(first, bench, 'n/#');
  await settle();
  retained.answer();
  await settle();
  const [sent] = first.outlet.publishes;
  first.session.pubrec(sent?.messageId ?? 0, 0);
  const record = first.session.snapshot(1);
  first.session.abandon();
  retained.found = { messages: [copyOf(2, 'n/2')], next: undefined };
  const second = makeSession(bench, { retained, record, epoch: 2 });
  second.session.start(0);
  await settle(20);
  second.session.pubcomp(sent?.messageId ?? 0);
  retained.answer();
  await settle(20);
  assert.deepEqual(second.outlet.payloads, ['n/2']);
});
