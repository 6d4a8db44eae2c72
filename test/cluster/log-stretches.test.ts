/** Many sessions read the log at once, and more a moment later: the log is read once for all of them, and each gets its own. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect, type NatsConnection } from 'nats';
import { pino } from 'pino';
import type { LogPage, LogPattern, MessageLog } from '../../src/broker/ports.ts';
import { systemClock } from '../../src/clock.ts';
import { Requests } from '../../src/nats/jetstream.ts';
import { provision } from '../../src/nats/provision.ts';
import { connectWired } from '../../src/nats/wire/connect.ts';
import { openBackplane } from '../support/backplane.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';

const TOPICS = 40;
const MESSAGES = 50;
const storage = {
  replicas: 1,
  storage: 'file',
  logMaxAgeSeconds: 3_600,
  logMaxBytes: 0,
  logDiscard: 'new',
  duplicateWindowSeconds: 120,
} as const;

let nats: NatsServerProcess;
let backplane: Awaited<ReturnType<typeof openBackplane>>;
let log: MessageLog;
let observer: NatsConnection;
/** Batched direct gets so far. */
let questions = 0;

before(async () => {
  nats = await startNatsServer();
  backplane = await openBackplane(nats.url, {});
  assert.ok(backplane.log !== undefined);
  log = backplane.log;
  observer = await connect({ servers: nats.url });
  observer.subscribe('$JS.API.DIRECT.GET.SMQ_LOG', { callback: () => questions++ });
  await store('old');
});
after(async () => {
  await observer.close();
  await backplane.close();
  await nats.stop();
});

/** To each of the topics so many messages, one topic after the other and again. */
async function store(text: string): Promise<void> {
  for (let index = 0; index < TOPICS * MESSAGES; index++) {
    const route = backplane.bus.route(`s/${index % TOPICS}`);
    assert.ok(route !== undefined);
    const payload = Buffer.from(`${text} ${Math.floor(index / TOPICS)}`);
    const more = { qos: 1, extras: undefined, expirySeconds: undefined, messageId: '' } as const;
    log.publish({ route, payload, ...more, settled: (outcome) => assert.equal(outcome, 'stored') });
  }
  await log.settleAll(20_000);
  await log.state();
}

function patternOf(filter: string): LogPattern {
  const [pattern] = log.patterns(filter) ?? [];
  assert.ok(pattern !== undefined);
  return pattern;
}

/** Everything of each topic behind `after`, in pages of `limit`, all topics at once. */
function readTopics(after: number, limit: number): Promise<string[][]> {
  return Promise.all(Array.from({ length: TOPICS }, (_, topic) => readAll(`s/${topic}`, after, limit)));
}

async function readAll(filter: string, after: number, limit: number): Promise<string[]> {
  const found: string[] = [];
  for (let upTo = after; ; ) {
    const page: LogPage = await log.read(patternOf(filter), upTo, limit);
    assert.ok(page.records.length <= limit);
    for (const { payload, sequence } of page.records) {
      assert.ok(sequence > upTo && sequence <= page.upTo);
      found.push(payload.toString());
    }
    if (page.upTo === upTo) return found;
    upTo = page.upTo;
  }
}

async function questionsOf(work: () => Promise<void>): Promise<number> {
  await observer.flush();
  const asked = questions;
  await work();
  await observer.flush();
  return questions - asked;
}

const texts = (text: string, from = 0): string[] =>
  Array.from({ length: MESSAGES - from }, (_, index) => `${text} ${index + from}`);

test('log stretches - each reader gets its messages, in pages of any size, from any position', async () => {
  for (const limit of [1, 7, 50, 256]) {
    for (const seen of [0, 20]) {
      const expected = Array.from({ length: TOPICS }, () => texts('old', seen));
      assert.deepEqual(await readTopics(seen * TOPICS, limit), expected, `pages of ${limit} behind ${seen} of each`);
    }
  }
});

test('log stretches - filters with wildcards get theirs beside them, in order', async () => {
  const [all, some, topics] = await Promise.all([readAll('#', 0, 100), readAll('+/3', 0, 100), readTopics(0, 100)]);
  assert.deepEqual(
    all,
    texts('old').flatMap((text) => Array.from({ length: TOPICS }, () => text)),
  );
  assert.deepEqual([some, topics[3]], [texts('old'), texts('old')]);
});

test('log stretches - who comes a moment later has nothing read again, and sees what was stored since', async () => {
  await readTopics(0, 256);
  const later = await questionsOf(async () => {
    const page = await log.read(patternOf('s/5'), 10 * TOPICS, 256);
    assert.equal(page.records.length, MESSAGES - 10);
  });
  assert.equal(later, 0);
  await store('new');
  assert.deepEqual(await readAll('s/5', 0, 256), [...texts('old'), ...texts('new')]);
});

test('log stretches - nothing of a log that was made anew is taken for what the next one has', async () => {
  await readTopics(0, 256);
  const connection = await connectWired({ servers: nats.url });
  const requests = new Requests(connection, systemClock);
  await requests.api('STREAM.DELETE.SMQ_LOG');
  await provision(requests, storage, pino({ level: 'silent' }));
  assert.equal((await log.state()).last, 0);
  await store('other');
  assert.deepEqual(
    await readTopics(0, 256),
    Array.from({ length: TOPICS }, () => texts('other')),
  );
  requests.close();
  await connection.close();
});
