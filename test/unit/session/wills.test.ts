/** Wills over a store and a log in memory: no room, no answers, several nodes at once, and what a dead node has left half done. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Bus, NodeLease, WillStore } from '../../../src/broker/ports.ts';
import { Publisher } from '../../../src/broker/publish.ts';
import { type Counters, makeCounters } from '../../../src/counters.ts';
import { EmbeddedBus } from '../../../src/embedded/bus.ts';
import { EmbeddedLog } from '../../../src/embedded/log.ts';
import { EmbeddedWillStore } from '../../../src/embedded/will-store.ts';
import { makeWill } from '../../../src/session/will.ts';
import { decodeWill, encodeWill } from '../../../src/session/will-record.ts';
import { type HeldWill, Wills } from '../../../src/session/wills.ts';
import { eventually } from '../../support/eventually.ts';
import { ShiftedClock } from '../../support/shifted-clock.ts';

/** A store that does not answer while it is told not to. */
class UnsteadyStore extends EmbeddedWillStore {
  isAway = false;

  override async load(owner: string, clientId: string): ReturnType<WillStore['load']> {
    this.#check();
    return super.load(owner, clientId);
  }

  override async save(owner: string, clientId: string, record: Buffer, expected: number): Promise<number | undefined> {
    this.#check();
    return super.save(owner, clientId, record, expected);
  }

  override async remove(owner: string, clientId: string, expected: number): Promise<boolean> {
    this.#check();
    return super.remove(owner, clientId, expected);
  }

  #check(): void {
    if (this.isAway) throw new Error('no answer');
  }
}

interface Bench {
  readonly clock: ShiftedClock;
  readonly store: UnsteadyStore;
  readonly log: EmbeddedLog;
  readonly bus: Bus;
  /** Topics of what was published, with every QoS. */
  readonly published: string[];
  node(incarnation: string, maximumWaiting?: number): Node;
  stop(): Promise<void>;
}

interface Node {
  readonly wills: Wills;
  readonly counters: Counters;
  readonly lease: NodeLease & { incarnation: string; deadline: number };
  store(clientId: string, fields?: { qos?: 0 | 1 | 2; delaySeconds?: number }): Promise<HeldWill>;
}

function makeBench(): Bench {
  const clock = new ShiftedClock();
  const store = new UnsteadyStore();
  const log = new EmbeddedLog({ maximumAgeSeconds: 0, clock });
  const nothing = (): void => {};
  const bus = new EmbeddedBus(makeCounters(), { writable: nothing, disconnected: nothing, connected: nothing });
  const published: string[] = [];
  const [pattern] = log.patterns('#') ?? [];
  assert.ok(pattern !== undefined);
  log.follow(pattern, ({ topic }) => void published.push(topic.name));
  bus.subscribe('#', (topic, _payload, extras) => {
    if (extras?.isStored !== true) published.push(topic.name);
  });
  const nodes: Wills[] = [];
  const node = (incarnation: string, maximumWaiting = 1_000): Node => {
    const counters = makeCounters();
    const publisher = new Publisher(bus, counters);
    const lease = {
      incarnation,
      deadline: Number.POSITIVE_INFINITY,
      isSettled: true,
      isAlive: async () => true,
      elect: async () => true,
      lead: async () => true,
      release: async () => {},
    };
    const wills = new Wills({ store, lease, log, publisher, counters, clock, maximumWaiting, position: () => 0 });
    nodes.push(wills);
    const storeWill: Node['store'] = (clientId, { delaySeconds = 0, qos = 1 } = {}) => {
      const route = publisher.route(`will/${clientId}`);
      assert.ok(route !== undefined);
      const nothingBeside = Buffer.alloc(0);
      const definition = { payload: Buffer.from('gone'), qos, retain: false, delaySeconds, properties: nothingBeside };
      const will = makeWill(route, definition);
      return wills.store({ clientId, will, sessionExpirySeconds: 1_000, noteRevision: undefined });
    };
    return { wills, counters, lease, store: storeWill };
  };
  const stop = async (): Promise<void> => {
    await Promise.all([...nodes.map((wills) => wills.stop()), log.close(), bus.close()]);
  };
  return { clock, store, log, bus, published, node, stop };
}

const crashed = { isPublished: true, sessionExpirySeconds: 1_000 };

test('wills that find no room in memory are published all the same, each once', async () => {
  const bench = makeBench();
  const { store, wills } = bench.node('one', 3);
  const ids = Array.from({ length: 20 }, (_, index) => String(index));
  for (const id of ids) await wills.end(await store(id, { delaySeconds: 10 + Number(id) }), crashed);
  const connected = await store('connected');
  assert.equal(wills.waiting, 3);
  bench.clock.pass(19.5);
  await eventually(() => bench.published.length === 10, 'those whose time has come');
  bench.clock.pass(20);
  await eventually(() => bench.published.length === 20, 'the others');
  assert.deepEqual([...bench.published].sort(), ids.map((id) => `will/${id}`).sort());
  await wills.end(connected, { ...crashed, isPublished: false });
  assert.equal(await bench.store.isEmpty('one'), true);
  await bench.stop();
});

for (const isPublished of [true, false]) {
  test(`the store does not answer at the end of a connection: the will is ${isPublished ? 'published' : 'removed'} when it does`, async () => {
    const bench = makeBench();
    const { store, wills } = bench.node('one');
    const ends = [await store('now'), await store('never', { qos: 0 }), await store('later', { delaySeconds: 5 })];
    bench.store.isAway = true;
    for (const held of ends) assert.equal(await wills.end(held, { ...crashed, isPublished }), true);
    bench.store.isAway = false;
    bench.clock.pass(2);
    const isDone = isPublished ? 2 : 0;
    await eventually(() => bench.published.length === isDone && wills.waiting === isDone / 2, 'the end of two of them');
    bench.clock.pass(10);
    await eventually(() => bench.store.isEmpty('one'), 'an empty store');
    assert.equal(bench.published.length, isPublished ? 3 : 0);
    await bench.stop();
  });
}

test('a node whose lease is over publishes no will, neither at the end of a connection nor one that waited', async () => {
  const bench = makeBench();
  const { lease, store, wills } = bench.node('one');
  const held = await store('now');
  await wills.end(await store('later', { delaySeconds: 5 }), crashed);
  lease.deadline = Number.NEGATIVE_INFINITY;
  wills.leaseLost();
  assert.equal(await wills.end(held, crashed), true, 'it is left to others');
  // Another node sees to both: that shows that the wait was long enough.
  bench.clock.pass(10);
  const heir = bench.node('two');
  assert.deepEqual(bench.published, []);
  await heir.wills.look('one', bench.log.now(), () => true);
  await eventually(() => bench.published.length === 2, 'both wills');
  assert.equal(heir.counters.willsOfDeadNodes, 2);
  await bench.stop();
});

test('several nodes see to the wills of a dead one at once: each will once', async () => {
  const bench = makeBench();
  const { store } = bench.node('dead');
  const count = 300;
  for (let n = 0; n < count; n++) await store(String(n), { qos: (n % 3) as 0 | 1 | 2, delaySeconds: n % 2 });
  const heirs = ['a', 'b', 'c'].map((name) => bench.node(name));
  const diedAt = bench.log.now();
  await Promise.all(heirs.map(({ wills }) => wills.look('dead', diedAt, () => true)));
  await eventually(() => bench.published.length >= count && bench.store.isEmpty('dead'), 'all wills');
  assert.equal(new Set(bench.published).size, count);
  assert.equal(bench.published.length, count);
  await bench.stop();
});

test('a will that a dead node had claimed is published, unless the log has it already, however long ago', async () => {
  const bench = makeBench();
  const dead = bench.node('dead');
  const claim = { by: 'dead', position: 0, at: bench.log.now() };
  const ids: string[] = [];
  for (const clientId of ['before', 'behind']) {
    const { revision } = await dead.store(clientId);
    const { record } = await bench.store.load('dead', clientId);
    assert.ok(record !== undefined);
    const will = decodeWill(record);
    ids.push(will.id);
    await bench.store.save('dead', clientId, encodeWill({ ...will, claim }), revision);
  }
  // It had got as far as the log with one of them.
  const route = bench.bus.route('will/behind');
  assert.ok(route !== undefined);
  await new Promise<void>((resolve) => {
    const message = {
      route,
      payload: Buffer.from('gone'),
      qos: 1 as const,
      extras: undefined,
      expirySeconds: undefined,
    };
    bench.log.publish({ ...message, messageId: ids[1] ?? '', settled: () => resolve() });
  });
  assert.deepEqual(bench.published, ['will/behind']);
  bench.clock.pass(3_600);
  const heir = bench.node('heir');
  await heir.wills.look('dead', bench.log.now(), () => true);
  await eventually(() => bench.store.isEmpty('dead'), 'an empty store');
  assert.deepEqual(bench.published, ['will/behind', 'will/before']);
  await bench.stop();
});

test('a will whose storing nobody has answered for is not published: its client was never accepted', async () => {
  const bench = makeBench();
  const { store, wills } = bench.node('one');
  // Written, but the answer is lost.
  const save = bench.store.save.bind(bench.store);
  bench.store.save = async (...args) => {
    await save(...args);
    throw new Error('no answer');
  };
  await assert.rejects(store('lost'));
  bench.store.save = save;
  assert.equal(await bench.store.isEmpty('one'), false);
  await eventually(() => bench.store.isEmpty('one'), 'an empty store');
  assert.deepEqual(bench.published, []);
  await wills.end(await store('found'), crashed);
  assert.deepEqual(bench.published, ['will/found']);
  await bench.stop();
});

test('an owner is unmarked at its stop when it has left nothing', async () => {
  const bench = makeBench();
  const [clean, leaving] = [bench.node('clean'), bench.node('leaving')];
  await clean.wills.end(await clean.store('c'), crashed);
  await leaving.wills.end(await leaving.store('c', { delaySeconds: 10 }), crashed);
  assert.deepEqual((await bench.store.owners()).toSorted(), ['clean', 'leaving']);
  await clean.wills.stop();
  await leaving.wills.stop();
  assert.deepEqual(await bench.store.owners(), ['leaving']);
  await bench.stop();
});
