/** nats/stream-quota.ts: what a node asks of the stream before it adds an entry, on a clock that stands until the test moves it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Requests } from '../../../src/nats/jetstream.ts';
import { StreamQuota } from '../../../src/nats/stream-quota.ts';
import { ManualClock } from '../embedded/manual-clock.ts';

interface Asked {
  readonly quota: StreamQuota;
  readonly clock: ManualClock;
  /** What the stream answers, or that it does not. */
  state: { messages: number; bytes: number } | undefined;
  questions: number;
}

function ask(limits: { messages?: number; bytes?: number }): Asked {
  const clock = new ManualClock();
  const api = async (): Promise<unknown> => {
    asked.questions++;
    if (asked.state === undefined) throw new Error('nobody answers');
    return { state: asked.state };
  };
  const requests = { api } as unknown as Requests; // all that a quota uses of it
  const quota = new StreamQuota({ requests, stream: 'S', clock, messages: 0, bytes: 0, ...limits });
  const asked: Asked = { quota, clock, state: { messages: 0, bytes: 0 }, questions: 0 };
  return asked;
}

test('stream quota - without a limit nothing is asked', async () => {
  const asked = ask({});
  assert.ok(await asked.quota.hasRoom(1e12));
  assert.equal(asked.questions, 0);
});

test('stream quota - what is added counts until the stream is asked again, once a second', async () => {
  const asked = ask({ messages: 10 });
  asked.state = { messages: 8, bytes: 0 };
  const answers = await Promise.all([1, 2, 3, 4].map(() => asked.quota.hasRoom(1)));
  assert.deepEqual(answers, [true, true, false, false]);
  assert.equal(asked.questions, 1);
  asked.state = { messages: 9, bytes: 0 };
  asked.clock.pass(1.1);
  assert.deepEqual([await asked.quota.hasRoom(1), await asked.quota.hasRoom(1)], [true, false]);
  assert.equal(asked.questions, 2);
});

test('stream quota - bytes: a large entry is refused where a small one fits', async () => {
  const asked = ask({ bytes: 1_000 });
  asked.state = { messages: 1_000_000, bytes: 900 };
  assert.deepEqual([await asked.quota.hasRoom(101), await asked.quota.hasRoom(100)], [false, true]);
  assert.equal(await asked.quota.hasRoom(1), false);
});

test('stream quota - a stream that does not answer has room, as far as is known', async () => {
  const asked = ask({ messages: 2 });
  asked.state = undefined;
  assert.deepEqual([await asked.quota.hasRoom(1), await asked.quota.hasRoom(1)], [true, true]);
  assert.equal(await asked.quota.hasRoom(1), false);
});
