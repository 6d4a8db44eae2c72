/** The log on JetStream where only a real server can tell: what applications forge, a killed server, and its refusals. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect, type NatsConnection } from 'nats';
import { pino } from 'pino';
import type { LogOutcome, LogPattern, LogPublish, LogRecord, MessageLog, Route } from '../../src/broker/ports.ts';
import { systemClock } from '../../src/clock.ts';
import { makeTopic } from '../../src/message.ts';
import type { NatsBackplaneOptions } from '../../src/nats/backplane.ts';
import { readyHeaders } from '../../src/nats/envelope.ts';
import { Requests, UnavailableError } from '../../src/nats/jetstream.ts';
import { LogPublisher } from '../../src/nats/log-publisher.ts';
import { provision } from '../../src/nats/provision.ts';
import { connectWired } from '../../src/nats/wire/connect.ts';
import { openBackplane } from '../support/backplane.ts';
import { eventually } from '../support/eventually.ts';
import { type NatsServerOptions, type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { natsSettings } from '../support/nats-settings.ts';

const LOG = 'SMQ_LOG';
const storage = {
  replicas: 1,
  storage: 'file',
  logMaxAgeSeconds: 3_600,
  logMaxBytes: 0,
  logDiscard: 'new',
  duplicateWindowSeconds: 120,
} as const;

interface Settled {
  readonly index: number;
  readonly outcome: LogOutcome;
  readonly sequence: number;
}

type OpenBackplane = Awaited<ReturnType<typeof openBackplane>>;

interface UnderTest {
  readonly log: MessageLog;
  readonly counters: OpenBackplane['counters'];
  route(topic: string): Route;
  close(): Promise<void>;
}

const folders: string[] = [];
let shared: NatsServerProcess;
let under: UnderTest;
let application: NatsConnection;

before(async () => {
  shared = await startNatsServer();
  under = await openLog(shared.url);
  application = await connect({ servers: shared.url });
});
after(async () => {
  await application.close();
  await under.close();
  await shared.stop();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

async function openLog(url: string, options: Partial<NatsBackplaneOptions> = {}): Promise<UnderTest> {
  const { bus, close, counters, log } = await openBackplane(url, options);
  assert.ok(log !== undefined);
  const route = (topic: string): Route => {
    const found = bus.route(topic);
    assert.ok(found !== undefined);
    return found;
  };
  return { log, counters, route, close };
}

/** On a server of its own. */
async function withOwnLog(
  server: NatsServerOptions,
  options: Partial<NatsBackplaneOptions>,
  run: (own: UnderTest, nats: NatsServerProcess) => Promise<void>,
): Promise<void> {
  const nats = await startNatsServer(server);
  try {
    const settings = { ...(options.settings ?? natsSettings()), servers: [nats.url] };
    const own = await openLog(nats.url, { ...options, settings });
    await run(own, nats);
    await own.close();
  } finally {
    await nats.stop();
  }
}

function patternOf(log: MessageLog, filter: string): LogPattern {
  const [pattern] = log.patterns(filter) ?? [];
  assert.ok(pattern !== undefined);
  return pattern;
}

/** Publishes the numbers from 0 on; what was settled is appended to `into` as it is. */
function publish(
  { log, route }: { readonly log: Pick<MessageLog, 'publish'>; readonly route: UnderTest['route'] },
  topic: string,
  count: number,
  into: Settled[],
  more: Partial<LogPublish> = {},
): void {
  for (let index = 0; index < count; index++) {
    const { messageId = '' } = more;
    log.publish({
      route: route(topic),
      payload: Buffer.from(String(index)),
      qos: 1,
      extras: undefined,
      expirySeconds: undefined,
      ...more,
      messageId: messageId === '' ? '' : `${messageId}-${index}`,
      settled: (outcome, sequence) => into.push({ index, outcome, sequence }),
    });
  }
}

async function publishOne(own: UnderTest, topic: string, more: Partial<LogPublish> = {}): Promise<Settled> {
  const settled: Settled[] = [];
  publish(own, topic, 1, settled, more);
  await eventually(() => settled.length === 1, 'an answer');
  const [only] = settled;
  assert.ok(only !== undefined);
  return only;
}

async function follow(log: MessageLog, filter: string): Promise<LogRecord[]> {
  const live: LogRecord[] = [];
  log.follow(patternOf(log, filter), (record) => live.push(record));
  await log.confirm();
  return live;
}

/** Everything of a filter, as a feed reads it. */
async function readAll(log: MessageLog, filter: string): Promise<LogRecord[]> {
  const pattern = patternOf(log, filter);
  const { last } = await log.state();
  const records: LogRecord[] = [];
  for (let upTo = 0; upTo < last; ) {
    const page = await log.read(pattern, upTo, 100);
    const next = page.upTo > upTo ? undefined : await log.readNext(pattern, upTo);
    records.push(...page.records, ...(next === undefined ? [] : [next]));
    upTo = page.upTo > upTo ? page.upTo : (next?.sequence ?? last);
  }
  return records;
}

const texts = (records: readonly LogRecord[]): string[] => records.map(({ payload }) => payload.toString());
const numbers = (count: number): string[] => Array.from({ length: count }, (_, index) => String(index));

/** Stores a message as an application may, with header lines of its own; resolves with its real position. */
async function store(subject: string, payload: string, lines: string): Promise<number> {
  const answer = await application.request(`$SMQ.log.${subject}`, payload, {
    headers: readyHeaders(lines),
    timeout: 10_000,
  });
  return answer.json<{ seq: number }>().seq;
}

test('headers copied from a received message change nothing: live, read, by position, by the leader', async () => {
  const { log } = under;
  const live = await follow(log, 'forged');
  const lines =
    'Nats-Stream: OTHER\r\nNats-Subject: $SMQ.log.elsewhere\r\nNats-Sequence: 999999\r\nNats-Last-Sequence: 999998\r\nNats-Time-Stamp: 2001-01-01T00:00:00Z\r\n';
  const sequence = await store('forged', 'first', lines);
  const { sequence: second } = await publishOne(under, 'forged');
  await eventually(() => live.length === 2, 'live copies');
  assert.deepEqual(
    live.map((record) => [record.sequence, record.previous]),
    [
      [sequence, 0],
      [second, sequence],
    ],
  );
  const read = (await log.read(patternOf(log, 'forged'), 0, 10)).records;
  assert.deepEqual(
    read.map((record) => record.sequence),
    [sequence, second],
  );
  const pair = [await log.readAt(sequence), await log.readNext(patternOf(log, 'forged'), 0)];
  for (const record of [live[0], read[0], ...pair]) {
    assert.equal(record?.sequence, sequence);
    assert.equal(record?.topic.name, 'forged');
  }
});

test('a stored message whose status line looks like an answer of JetStream ends no page and hides nothing', async () => {
  for (const status of ['404 Message Not Found', '204 EOB', '408 Timeout', '503']) {
    const topic = `status/${status.slice(0, 3)}`;
    const before = await publishOne(under, topic);
    const headers = { encode: () => Buffer.from(`NATS/1.0 ${status}\r\n\r\n`) } as unknown as ReturnType<
      typeof readyHeaders
    >; // all that publish() calls
    const answer = await application.request(`$SMQ.log.${topic.replace('/', '.')}`, '', { headers, timeout: 10_000 });
    const { seq: forged } = answer.json<{ seq: number }>();
    const behind = await publishOne(under, topic);
    const started = performance.now();
    const found = (await readAll(under.log, topic)).map((record) => record.sequence);
    assert.deepEqual(found, [before.sequence, forged, behind.sequence], status);
    assert.ok(performance.now() - started < 1_000, `${status}: nobody was waited for`);
  }
});

test('properties that no PUBLISH may carry, subjects of no topic, and what is hidden: counted, skipped by every way to read', async () => {
  const { counters, log } = under;
  const live = await follow(log, '#');
  const dropped = counters.dropped.notMqtt;
  const { last } = await log.state();
  const bad = [
    await store('bad', 'x', `Mqtt-Properties: ${Buffer.from([0x21, 0, 1]).toString('base64')}\r\n`),
    await store('$SYS.x', 'x', ''),
    await store('_INBOX.x', 'x', ''),
    await store('a./zz', 'x', ''),
  ];
  const { sequence } = await publishOne(under, 'good');
  await eventually(() => live.length > 0, 'the live copy');
  assert.deepEqual(
    live.map((record) => record.sequence),
    [sequence],
  );
  assert.equal(counters.dropped.notMqtt, dropped + bad.length);
  assert.equal((await log.readNext(patternOf(log, '#'), last))?.sequence, sequence);
  const page = await log.read(patternOf(log, '#'), last, 100);
  assert.deepEqual(
    page.records.map((record) => record.sequence),
    [sequence],
  );
  assert.equal(page.upTo, sequence);
  for (const position of bad) assert.equal(await log.readAt(position), undefined);
});

/** Calls `task` once, in the middle of the answers: a poll might come when all is over. */
function inTheMiddle(settled: Settled[], task: () => void): Settled[] {
  const push = settled.push.bind(settled);
  settled.push = (...items) => {
    const count = push(...items);
    if (count === 500) task();
    return count;
  };
  return settled;
}

const COUNT = 20_000;

test('SIGKILL and restart of nats-server under 20,000 publishes: all stored, settled in order, none twice', () =>
  withOwnLog({}, {}, async (own, nats) => {
    let killed: Promise<void> | undefined;
    const settled = inTheMiddle([], () => {
      killed = nats.kill('SIGKILL');
    });
    publish(own, 'killed', COUNT, settled, { qos: 2, messageId: 'killed' });
    await eventually(() => killed !== undefined, 'the kill');
    await killed;
    assert.ok(settled.length < COUNT, 'killed in the middle');
    await nats.restart();
    await own.log.settleAll(30_000);
    assert.deepEqual(
      settled.map(({ index, outcome }) => `${index} ${outcome}`),
      numbers(COUNT).map((text) => `${text} stored`),
    );
    const records = await readAll(own.log, 'killed');
    assert.deepEqual(texts(records), numbers(COUNT));
    assert.deepEqual(
      records.map(({ sequence }) => sequence),
      settled.map(({ sequence }) => sequence),
    );
  }));

test('a frozen nats-server: what is sent again without an id is there twice, never out of order; late answers count', () =>
  withOwnLog({}, {}, async (own, nats) => {
    let isFrozen = false;
    const settled = inTheMiddle([], () => {
      nats.pause();
      isFrozen = true;
    });
    publish(own, 'frozen', COUNT, settled);
    await eventually(() => isFrozen, 'the freeze');
    // An answer is given up after 5 s: the time itself is what is tested.
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    assert.ok(settled.length < COUNT, 'frozen in the middle');
    nats.resume();
    await own.log.settleAll(30_000);
    assert.deepEqual(
      settled.map(({ index, outcome }) => `${index} ${outcome}`),
      numbers(COUNT).map((text) => `${text} stored`),
    );
    const stored = texts(await readAll(own.log, 'frozen'));
    assert.ok(stored.length > COUNT, 'some were sent again');
    assert.deepEqual([...new Set(stored)], numbers(COUNT));
  }));

test('a server that takes less after its restart: what is too large is told, and nothing overtakes what is sent again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-limit-'));
  folders.push(folder);
  const file = join(folder, 'limit.conf');
  writeFileSync(file, 'max_payload: 64KB\n');
  const extraConfig = `include ${JSON.stringify(join('..', basename(folder), 'limit.conf'))}`;
  await withOwnLog({ extraConfig }, {}, async (own, nats) => {
    const settled: Settled[] = [];
    const large = new Set([0, 1_100, 1_101]);
    nats.pause();
    for (let index = 0; index < 1_200; index++) {
      own.log.publish({
        route: own.route('less'),
        payload: large.has(index) ? Buffer.alloc(16_000) : Buffer.from(String(index)),
        qos: 1,
        extras: undefined,
        expirySeconds: undefined,
        messageId: `less-${index}`,
        settled: (outcome, sequence) => settled.push({ index, outcome, sequence }),
      });
    }
    await nats.kill('SIGKILL');
    writeFileSync(file, 'max_payload: 8KB\n');
    await nats.restart();
    await own.log.settleAll(30_000);
    assert.equal(settled.length, 1_200);
    const refused = settled.filter(({ outcome }) => outcome === 'tooLarge').map(({ index }) => index);
    assert.deepEqual(refused, [...large]);
    const small = numbers(1_200).filter((text) => !large.has(Number(text)));
    assert.deepEqual(texts(await readAll(own.log, 'less')), small);
  });
});

/** JetStream's settings are one block: what a test adds to them comes with a folder. */
function jetstream(more: string): NatsServerOptions {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-store-'));
  folders.push(folder);
  return { jetstream: false, extraConfig: `jetstream { store_dir: ${JSON.stringify(folder)}, ${more} }` };
}

const account = 'accounts { A: { jetstream: { max_file: 40000, max_mem: 40000 }, users: [{ user: a, password: a }] } }';
const limits: ReadonlyArray<[of: string, server: () => NatsServerOptions, options: Partial<NatsBackplaneOptions>]> = [
  ['the log', () => ({}), { logMaxBytes: 20_000 }],
  ['the account', () => ({ extraConfig: account }), { settings: { ...natsSettings(), user: 'a', password: 'a' } }],
  ['the server', () => jetstream('max_file_store: 40000'), {}],
];
for (const [of, server, options] of limits) {
  test(`no more space within the limit of ${of}: full, and nothing hangs`, () =>
    withOwnLog(server(), options, async (own) => {
      const settled: Settled[] = [];
      publish(own, 'full', 100, settled, { payload: Buffer.alloc(1_000) });
      await own.log.settleAll(20_000);
      const outcomes = settled.map(({ outcome }) => outcome);
      assert.equal(outcomes.length, 100);
      assert.equal(outcomes[0], 'stored');
      assert.deepEqual([...new Set(outcomes)], ['stored', 'full']);
    }));
}

test('in a JetStream domain acknowledgements name it: stored, with the position, and a duplicate is one', () =>
  withOwnLog(jetstream('domain: hub'), {}, async (own) => {
    const settled: Settled[] = [];
    publish(own, 'domain', 120, settled, { messageId: 'domain' });
    publish(own, 'domain', 1, settled, { messageId: 'domain' });
    await own.log.settleAll(10_000);
    const sequences = [...Array.from({ length: 120 }, (_, index) => index + 1), 1];
    assert.deepEqual(
      settled.map(({ outcome, sequence }) => [outcome, sequence]),
      sequences.map((sequence) => ['stored', sequence]),
    );
  }));

test('a duplicate is stored, and every node hears of a gap', async () => {
  const gaps = [0, 0];
  const nodes = await Promise.all(
    gaps.map((_, node) =>
      openLog(shared.url, {
        logEvents: { gap: () => void gaps.splice(node, 1, (gaps[node] ?? 0) + 1) },
      }),
    ),
  );
  const [first] = nodes;
  assert.ok(first !== undefined);
  const { sequence } = await publishOne(first, 'again', { messageId: 'again' });
  await publishOne(first, 'other');
  assert.deepEqual(gaps, [0, 0]);
  assert.equal((await publishOne(first, 'again', { messageId: 'again' })).sequence, sequence);
  await eventually(() => gaps.every((count) => count === 1), 'a gap on both nodes');
  await Promise.all(nodes.map((node) => node.close()));
});

test('a log made anew: nothing beyond its end is taken for read', () =>
  withOwnLog({}, {}, async (own, nats) => {
    const settled: Settled[] = [];
    publish(own, 'anew', 50, settled);
    await own.log.settleAll(10_000);
    const { identity } = await own.log.state();
    const connection = await connectWired({ servers: nats.url });
    const requests = new Requests(connection, systemClock);
    await requests.api(`STREAM.DELETE.${LOG}`);
    await provision(requests, storage, pino({ level: 'silent' }));
    const state = await own.log.state();
    assert.notEqual(state.identity, identity);
    assert.equal(state.last, 0);
    assert.equal((await own.log.read(patternOf(own.log, 'anew'), 0, 10)).upTo, 0);
    requests.close();
    await connection.close();
  }));

test('what an application writes among the session records is no session, and breaks neither a page nor the connection', async () => {
  const { close, sessions } = await openBackplane(shared.url);
  assert.ok(sessions !== undefined);
  const revision = await sessions.save('real', Buffer.from('record'), 0, 0);
  const values = [Buffer.from([1]), Buffer.from([0xff, 0xff, 1]), Buffer.alloc(0)];
  for (const [index, value] of values.entries()) {
    await application.request(`$KV.SMQ_SESSIONS.forged-${index}`, value, { timeout: 10_000 });
  }
  const behind = await sessions.save('behind', Buffer.from('record'), 0, 0);
  const found = (await sessions.page(0)).sessions.map((session) => [session.clientId, session.revision]);
  assert.deepEqual(found, [
    ['real', revision],
    ['behind', behind],
  ]);
  await close();
});

test('what is asked of a closed Requests is rejected, not forgotten, and an answer that comes later harms nobody', async () => {
  const connection = await connectWired({ servers: shared.url });
  const [closed, other] = [new Requests(connection, systemClock), new Requests(connection, systemClock)];
  const asked = closed.api('STREAM.NAMES');
  closed.close();
  await assert.rejects(asked, UnavailableError);
  await assert.rejects(closed.api('STREAM.NAMES'), UnavailableError);
  // Asked behind it on the same connection: by then the first answer has come.
  const { inMsgs } = connection.stats();
  const { streams } = await other.api<{ streams: string[] }>('STREAM.NAMES');
  assert.ok(streams.includes(LOG));
  assert.equal(connection.stats().inMsgs, inMsgs + 2, 'both answers');
  other.close();
  await connection.close();
});

test('what was abandoned while the log was silent is never settled; what is published afterwards is', () =>
  withOwnLog({}, {}, async ({ route }, nats) => {
    const connection = await connectWired({ servers: nats.url });
    const publisher = new LogPublisher({
      connection,
      clock: systemClock,
      uncertain() {},
    });
    const log = { publish: (message: LogPublish) => publisher.publish(message) };
    const abandoned: Settled[] = [];
    nats.pause();
    publish({ log, route }, 'abandoned', 1_100, abandoned);
    // Given up after 5 s, and sent again.
    await new Promise((resolve) => setTimeout(resolve, 5_500));
    publisher.abandon();
    nats.resume();
    const settled: Settled[] = [];
    publish({ log, route }, 'afterwards', 10, settled);
    await eventually(() => settled.length === 10, 'answers');
    assert.ok(settled.every(({ outcome }) => outcome === 'stored'));
    assert.equal(abandoned.length, 0);
    publisher.close();
    await connection.close();
  }));

/** A stream that answers as the test says; the real one does so when its leader dies at the right moment. */
interface FakeStream {
  readonly publisher: LogPublisher;
  /** Publishes numbered messages; their answers are in `settled`. */
  publish(count: number): void;
  readonly settled: Settled[];
}

async function withFakeStream(
  take: (text: string, respond: (answer: string) => void) => void,
  run: (fake: FakeStream) => Promise<void>,
): Promise<void> {
  const nats = await startNatsServer();
  const [stream, connection] = await Promise.all([connect, connectWired].map((open) => open({ servers: nats.url })));
  assert.ok(stream !== undefined && connection !== undefined);
  stream.subscribe('$SMQ.log.fake', {
    callback: (_, message) => take(message.string(), (answer) => message.respond(answer)),
  });
  await stream.flush();
  const publisher = new LogPublisher({ connection, clock: systemClock, uncertain() {} });
  const settled: Settled[] = [];
  const route = { ...makeTopic('fake'), subject: 'fake' };
  let next = 0;
  const publishOne = (index: number): void =>
    publisher.publish({
      route,
      payload: Buffer.from(String(index)),
      qos: 1,
      extras: undefined,
      expirySeconds: undefined,
      messageId: '',
      settled: (outcome, sequence) => settled.push({ index, outcome, sequence }),
    });
  const publish = (count: number): void => {
    for (const end = next + count; next < end; next++) publishOne(next);
  };
  try {
    await run({ publisher, settled, publish });
  } finally {
    publisher.close();
    await Promise.all([stream.close(), connection.close()]);
    await nats.stop();
  }
}

test('a stream in which too much waits is given less at once, and everything is stored', async () => {
  const PLACES = 40;
  // JetStream refuses so when 100,000 messages wait, which no single node brings about.
  const waiting: Array<() => void> = [];
  const accepted: string[] = [];
  let refused = 0;
  const working = setInterval(() => {
    for (const store of waiting.splice(0, PLACES / 2)) store();
  }, 1);
  await withFakeStream(
    (text, respond) => {
      if (waiting.length >= PLACES) {
        refused++;
        respond('{"stream":"SMQ_LOG","error":{"code":429,"err_code":10167,"description":"too many requests"}}');
        return;
      }
      waiting.push(() => {
        accepted.push(text);
        respond(`{"stream":"SMQ_LOG","seq":${accepted.length}}`);
      });
    },
    async ({ publish, publisher, settled }) => {
      publish(5_000);
      await publisher.settled();
      assert.equal(settled.length, 5_000);
      assert.ok(settled.every(({ outcome }) => outcome === 'stored'));
      assert.deepEqual([...accepted].sort(byNumber), numbers(5_000), 'each once');
      // 1,024, 512, 256 … until the stream has room for the window
      assert.ok(refused > 0 && refused < 2_100, `${refused} were refused`);
    },
  ).finally(() => clearInterval(working));
});

test('answers that come late, from the next leader, let nothing overtake what the dead one has swallowed', async () => {
  const LATE = 1_500;
  const accepted: string[] = [];
  let arrived = 0;
  await withFakeStream(
    (text, respond) => {
      arrived++;
      // The first ten are stored and answered after the election; the others are lost with the leader.
      if (arrived > 10 && arrived <= 50) return;
      accepted.push(text);
      const answer = `{"stream":"SMQ_LOG","seq":${accepted.length}}`;
      if (arrived > 50) respond(answer);
      else setTimeout(() => respond(answer), LATE);
    },
    async ({ publish, publisher, settled }) => {
      publish(50);
      await eventually(() => settled.length === 10, 'late answers');
      publish(10);
      await publisher.settled();
      assert.deepEqual(accepted, numbers(60));
    },
  );
});

test('what the leader passes over goes again at once', async () => {
  const accepted: string[] = [];
  let arrived = 0;
  await withFakeStream(
    (text, respond) => {
      arrived++;
      if (arrived > 10 && arrived <= 20) return;
      accepted.push(text);
      respond(`{"stream":"SMQ_LOG","seq":${accepted.length}}`);
    },
    async ({ publish, publisher, settled }) => {
      const started = performance.now();
      publish(50);
      await publisher.settled();
      assert.ok(performance.now() - started < 4_000, 'before the answers were given up');
      assert.equal(settled.length, 50);
      const order = numbers(50);
      assert.deepEqual(accepted, [...order.slice(0, 10), ...order.slice(20), ...order.slice(10, 20)]);
    },
  );
});

function byNumber(a: string, b: string): number {
  return Number(a) - Number(b);
}
