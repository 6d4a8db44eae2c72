/** session/session.ts with its readers and feeds, over a log and a store that a test has in its hand. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import type { IPublishPacket } from 'mqtt-packet';
import { encodeRecord, type SessionRecord } from '../../../src/session/record.ts';
import { RecordKeeper } from '../../../src/session/record-keeper.ts';
import { eventually } from '../../support/eventually.ts';
import {
  type Bench,
  type MadeSession,
  makeBench,
  makeSession,
  settle,
  subscribe,
} from '../../support/session-harness.ts';
import { FakeStore } from '../../support/wired-node.ts';

// Pauses between two attempts keep no process alive: here something has to.
const alive = setInterval(() => {}, 1_000);
after(() => clearInterval(alive));

async function started(bench: Bench, filter: string, qos: 0 | 1 | 2, window = 256): Promise<MadeSession> {
  const made = makeSession(bench, { window });
  made.session.start(0);
  await subscribe(made, bench, filter, qos);
  await settle();
  return made;
}

/** Lets every feed look at the log. */
async function lookAll(bench: Bench): Promise<void> {
  for (let sweep = 0; sweep < 32; sweep++) {
    bench.sweep();
    await settle(2);
  }
}

/** What the session leaves in the store when its connection ends now. */
async function leave({ session }: MadeSession): Promise<SessionRecord> {
  const record = session.snapshot(0);
  await session.close();
  return record;
}

async function makeDurable({ session }: MadeSession, store: FakeStore): Promise<void> {
  const revision = (await store.save('client', encodeRecord(session.snapshot(0)), 0, 0)) ?? 0;
  const snapshot = (writes: number): SessionRecord => session.snapshot(writes);
  session.keep(new RecordKeeper({ store, clientId: 'client', revision, snapshot, fenced: () => {} }));
}

test('session - a filter that goes from QoS 0 to 1 gets stored messages from the log', async () => {
  const bench = makeBench();
  const made = await started(bench, 'a', 0);
  bench.log.append('a', { payload: 'before' });
  await subscribe(made, bench, 'a', 1);
  bench.log.append('a', { payload: 'after' });
  assert.deepEqual(made.outlet.payloads, ['after']);
  await leave(made);
});

test('session - a write that is under way covers what was in it, not the next message of QoS 2', async () => {
  const bench = makeBench();
  const store = new FakeStore();
  const made = makeSession(bench);
  await makeDurable(made, store);
  made.session.start(0);
  await subscribe(made, bench, 'a', 2);
  const releases: Array<() => void> = [];
  store.before = () => new Promise((resolve) => releases.push(resolve));
  bench.log.append('a', { payload: '1', qos: 2 });
  await settle();
  bench.log.append('a', { payload: '2', qos: 2 });
  bench.log.append('a', { payload: '3', qos: 2 });
  await settle();
  assert.deepEqual([made.outlet.payloads, releases.length], [[], 1]);
  releases.shift()?.();
  await settle();
  assert.deepEqual([made.outlet.payloads, releases.length], [['1'], 1]);
  releases.shift()?.();
  await settle();
  assert.deepEqual([made.outlet.payloads, releases.length], [['1', '2', '3'], 0]);
});

test('session - a resumed reader does not look for the end of the log before its feed has: nothing falls between', async () => {
  const bench = makeBench();
  const { log } = bench;
  const record = await leave(await started(bench, 'a', 1));
  let confirm = (): void => {};
  log.gate = (question) =>
    question === 'confirm'
      ? new Promise((resolve) => {
          confirm = resolve;
        })
      : Promise.resolve();
  const made = makeSession(bench, { record });
  made.session.start(0);
  await settle();
  log.append('a', { payload: 'between' });
  confirm();
  await settle();
  log.append('a', { payload: 'after' });
  await settle();
  assert.deepEqual(made.outlet.payloads, ['between', 'after']);
});

test('session - a subscription begins when its feed is open, although the log answers others before', async () => {
  const bench = makeBench();
  const { log } = bench;
  let fails = true;
  log.gate = async (question) => {
    if (fails && question === 'state') throw new Error('away');
  };
  const first = makeSession(bench);
  first.session.start(0);
  const waiting = subscribe(first, bench, 'a', 1);
  await settle();
  fails = false;
  const second = makeSession(bench);
  second.session.start(0);
  let isConfirmed = false;
  const confirmed = subscribe(second, bench, 'a', 1).then(() => {
    isConfirmed = true;
  });
  await settle();
  assert.ok(!isConfirmed, 'the feed tries again in a second');
  await Promise.all([confirmed, waiting]);
  log.append('a', { payload: 'x' });
  await settle();
  assert.deepEqual([first.outlet.payloads, second.outlet.payloads], [['x'], ['x']]);
});

test('session - what was acknowledged does not stay in the record because of a subscription that is gone', async () => {
  const bench = makeBench();
  const made = await started(bench, 'a/#', 1);
  await subscribe(made, bench, 'a/+', 1);
  for (let count = 0; count < 10; count++) bench.log.append('a/b', { payload: String(count) });
  for (const { messageId = 0 } of made.outlet.publishes) made.session.puback(messageId);
  made.session.unsubscribe('a/+');
  await lookAll(bench);
  assert.deepEqual(made.session.snapshot(0).done, []);
});

test('session - the first subscription of an empty log keeps its place when another one comes', async () => {
  const bench = makeBench();
  const made = await started(bench, 'a', 1);
  bench.log.append('a');
  await subscribe(made, bench, 'b', 1);
  assert.deepEqual(
    made.session.snapshot(0).subscriptions.map(({ start, text }) => [text, start]),
    [
      ['a', 0],
      ['b', 1],
    ],
  );
});

test('session - a session that resumes reads the log, then goes on live; the record moves with it', async () => {
  const bench = makeBench();
  const { log } = bench;
  const record = await leave(await started(bench, 'a/+', 1));
  for (let count = 0; count < 1_000; count++) log.append(`a/${count % 2}`, { payload: String(count) });
  const made = makeSession(bench, { record, window: 50 });
  made.outlet.published = ({ messageId = 0 }) => queueMicrotask(() => made.session.puback(messageId));
  made.session.start(0);
  await eventually(() => made.outlet.publishes.length === 1_000);
  for (let count = 1_000; count < 1_050; count++) log.append(`a/${count % 2}`, { payload: String(count) });
  await settle();
  assert.deepEqual(
    made.outlet.payloads.map(Number),
    Array.from({ length: 1_050 }, (_, index) => index),
  );
  await lookAll(bench);
  const { done, outbound, subscriptions } = made.session.snapshot(0);
  assert.deepEqual([done, outbound, subscriptions[0]?.positions], [[], [], [1_050]]);
});

test('session - a message that left the log is given up when it should come again, the next one comes', async () => {
  const bench = makeBench();
  const made = await started(bench, 'a', 1);
  for (let count = 0; count < 3; count++) bench.log.append('a', { payload: String(count) });
  const record = await leave(made);
  const { readAt } = bench.log;
  bench.log.readAt = async (sequence) => (sequence === 2 ? undefined : readAt.call(bench.log, sequence));
  const again = makeSession(bench, { record });
  again.session.start(0);
  await settle();
  assert.deepEqual(again.outlet.payloads, ['0', '2']);
  assert.equal(bench.counters.dropped.outOfRetention, 1);
  assert.equal(again.session.inFlight, 2);
});

test('session - a log that does not answer at a resume is asked again by the next tick', async () => {
  const bench = makeBench();
  const made = await started(bench, 'a', 1);
  bench.log.append('a', { payload: 'in flight' });
  const record = await leave(made);
  bench.log.append('a', { payload: 'behind' });
  let fails = true;
  bench.log.gate = async (question) => {
    if (fails && question !== 'confirm') throw new Error('away');
  };
  const again = makeSession(bench, { record });
  again.session.start(0);
  await settle();
  assert.deepEqual(again.outlet.payloads, []);
  fails = false;
  await eventually(async () => {
    again.session.tick();
    await settle();
    return again.outlet.payloads.length === 2;
  });
  assert.deepEqual(again.outlet.payloads, ['in flight', 'behind']);
});

// ---- everything at once ----

const topics = ['t/0', 't/1', 't/2'] as const;

type Step =
  | {
      readonly do: 'append';
      readonly topic: number;
      readonly copies: number;
      readonly qos: 1 | 2;
      readonly large: boolean;
    }
  | { readonly do: 'acknowledge'; readonly which: number }
  | { readonly do: 'acknowledgeAll' | 'sweep' | 'tick' | 'settle' | 'block' | 'unblock' | 'reconnect' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      topic: fc.integer({ min: 0, max: 2 }),
      copies: fc.constantFrom(0, 1, 1, 1, 2),
      qos: fc.constantFrom(1 as const, 2 as const),
      large: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('acknowledge' as const), which: fc.nat(50) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'acknowledgeAll' as const,
        'sweep' as const,
        'tick' as const,
        'settle' as const,
        'settle' as const,
        'block' as const,
        'unblock' as const,
        'reconnect' as const,
      ),
    }),
  },
);

/** A client and its session through any number of connections, and what came. */
class Walk {
  readonly bench = makeBench();
  readonly window: number;
  /** Numbers as they came for the first time, by topic. */
  readonly arrived: Record<string, number[]> = {};
  readonly #finished = new Set<number>();
  /** Sent on this connection or an earlier one and not acknowledged, by packet id. */
  #open = new Map<number, number>();
  #made: MadeSession;
  #isBlocked = false;
  #count = 0;

  constructor(window: number) {
    this.window = window;
    this.#made = this.#connect(undefined);
  }

  async begin(filters: readonly string[]): Promise<void> {
    for (const filter of filters) await subscribe(this.#made, this.bench, filter, 2);
  }

  async take(step: Step): Promise<void> {
    const { outlet, session } = this.#made;
    switch (step.do) {
      case 'append': {
        const payload = `${this.#count++} ${step.large ? 'x'.repeat(40_000) : ''}`;
        this.bench.log.append(topics[step.topic] ?? 't/0', { payload, qos: step.qos, copies: step.copies });
        return;
      }
      case 'acknowledge':
        return this.#acknowledge([...this.#open.keys()][step.which % Math.max(1, this.#open.size)]);
      case 'acknowledgeAll':
        for (const id of [...this.#open.keys()]) this.#acknowledge(id);
        return;
      case 'sweep':
        return this.bench.sweep();
      case 'tick':
        return session.tick();
      case 'settle':
        return settle(1);
      case 'block':
        this.#isBlocked = true;
        outlet.hasRoom = false;
        return;
      case 'unblock':
        this.#isBlocked = false;
        outlet.hasRoom = true;
        return session.pump();
      case 'reconnect':
        return this.#reconnect();
    }
  }

  /** The client answers everything and the feeds look, until nothing more comes. */
  async finish(): Promise<void> {
    await this.take({ do: 'unblock' });
    for (let round = 0, quiet = 0; quiet < 35; round++) {
      const before = this.#finished.size;
      for (const each of ['acknowledgeAll', 'tick', 'sweep', 'settle', 'settle', 'acknowledgeAll'] as const)
        await this.take({ do: each });
      quiet = this.#finished.size === before && this.#open.size === 0 ? quiet + 1 : 0;
      assert.ok(round < 2_000, 'no end');
    }
    const { done, outbound } = this.#made.session.snapshot(0);
    assert.deepEqual([done, outbound], [[], []], 'nothing is left behind');
    await this.#made.session.close();
    assert.equal(this.bench.log.followerCount, 0);
  }

  #connect(record: SessionRecord | undefined): MadeSession {
    const made = makeSession(this.bench, { window: this.window, ...(record === undefined ? {} : { record }) });
    made.outlet.hasRoom = !this.#isBlocked;
    made.outlet.published = (packet) => this.#arrive(packet);
    made.session.start(0);
    return made;
  }

  async #reconnect(): Promise<void> {
    const record = await leave(this.#made);
    this.#made.outlet.published = () => assert.fail('to a connection that has ended');
    this.#made = this.#connect(record);
  }

  #arrive({ dup, messageId = 0, payload, topic }: IPublishPacket): void {
    const number = Number.parseInt(payload.toString(), 10);
    assert.ok(!this.#finished.has(number), `${number} was acknowledged`);
    const known = this.#open.get(messageId);
    if (dup) assert.equal(known, number, 'the same id for the same message');
    else {
      assert.equal(known, undefined, `id ${messageId} is in use`);
      this.#open.set(messageId, number);
      this.arrived[topic] ??= [];
      this.arrived[topic].push(number);
    }
    assert.ok(this.#open.size <= this.window, `${this.#open.size} at once`);
  }

  #acknowledge(id: number | undefined): void {
    const number = id === undefined ? undefined : this.#open.get(id);
    if (id === undefined || number === undefined) return;
    const { outlet, session } = this.#made;
    const isHere = outlet.publishes.some(({ messageId }) => messageId === id);
    // A client cannot answer on this connection what did not come on it.
    if (!isHere) return;
    const qos = outlet.publishes.findLast(({ messageId }) => messageId === id)?.qos;
    this.#open.delete(id);
    this.#finished.add(number);
    if (qos === 1) return session.puback(id);
    session.pubrec(id, 0);
    assert.ok(outlet.packets.some((packet) => packet.cmd === 'pubrel' && packet.messageId === id));
    session.pubcomp(id);
  }
}

test('session - any mixture of lost and double live copies, slow clients, acknowledgements and reconnects: each message once, per topic in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 150, size: 'max' }),
      fc.constantFrom<readonly string[]>(
        ['t/+'],
        ['#'],
        ['t/0', 't/1', 't/2'],
        ['t/+', 't/0'],
        ['#', 't/#', 't/1', '+/2'],
      ),
      fc.constantFrom(1, 2, 3, 10, 256),
      async (steps, filters, window) => {
        const walk = new Walk(window);
        await walk.begin(filters);
        for (const each of steps) await walk.take(each);
        await walk.finish();
        for (const topic of topics) {
          const sent = walk.bench.log.records
            .filter((record) => record.topic.name === topic)
            .map(({ payload }) => Number.parseInt(payload.toString(), 10));
          assert.deepEqual(walk.arrived[topic] ?? [], sent, topic);
        }
      },
    ),
    { numRuns: Number(process.env['SESSION_RUNS'] ?? 100) },
  );
});
