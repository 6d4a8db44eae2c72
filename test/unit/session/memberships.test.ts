/** session/memberships.ts inside a session: what becomes of each message that a group has given to a client. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeRecord, encodeRecord, type SessionRecord } from '../../../src/session/record.ts';
import { RecordKeeper } from '../../../src/session/record-keeper.ts';
import { FakeGroupLog } from '../../support/fake-group-log.ts';
import {
  type Bench,
  type MadeSession,
  makeBench,
  makeSession,
  type SessionSettings,
  settle,
  subscribe,
} from '../../support/session-harness.ts';
import { FakeStore } from '../../support/wired-node.ts';

const FILTER = '$share/g/a';

interface Made extends MadeSession {
  readonly bench: Bench;
  readonly groups: FakeGroupLog;
  readonly store: FakeStore;
  /** Stores a message and gives it to the member. */
  hand(payload: string, options?: { qos?: 1 | 2; isRepeated?: boolean; expirySeconds?: number }): void;
}

/** A started session that is in one group; `isDurable`: its record is in a store. */
async function make(
  qos: 0 | 1 | 2,
  { isDurable = true, ...settings }: SessionSettings & { isDurable?: boolean } = {},
): Promise<Made> {
  const bench = makeBench();
  const groups = new FakeGroupLog();
  const store = new FakeStore();
  const made = makeSession(bench, { groups, ...settings });
  const { session } = made;
  if (isDurable) {
    const revision = (await store.save('client', encodeRecord(session.snapshot(0)), 0, 0)) ?? 0;
    const snapshot = (writes: number): SessionRecord => session.snapshot(writes);
    session.keep(new RecordKeeper({ store, clientId: 'client', revision, snapshot, fenced: () => {} }));
  }
  session.start(0);
  await subscribe(made, bench, FILTER, qos);
  const hand: Made['hand'] = (payload, { expirySeconds, isRepeated = false, qos: published = 2 } = {}) => {
    bench.log.append('a', { payload, qos: published, ...(expirySeconds === undefined ? {} : { expirySeconds }) });
    const record = bench.log.records.at(-1);
    assert.ok(record !== undefined);
    groups.hand(record, { isRepeated });
  };
  return { ...made, bench, groups, store, hand };
}

async function stored({ store }: Made): Promise<SessionRecord> {
  const { record } = await store.load('client');
  assert.ok(record !== undefined);
  return decodeRecord(record);
}

test('memberships - QoS 1: PUBLISH at once, acknowledged in the group with PUBACK, never in the record', async () => {
  const made = await make(1);
  const { groups, hand, outlet, session } = made;
  hand('x');
  assert.deepEqual(outlet.payloads, ['x']);
  assert.deepEqual(groups.said, []);
  assert.deepEqual(session.snapshot(0).outbound, []);
  session.puback(outlet.publishes[0]?.messageId ?? 0);
  assert.deepEqual(groups.said, ['x acknowledged']);
  await session.close();
  assert.deepEqual(groups.said, ['x acknowledged']);
});

test('memberships - QoS 2: the record, then the group, then PUBLISH; the claim goes from the record with the next write', async () => {
  const made = await make(2);
  const { groups, hand, outlet, session, store } = made;
  let confirm: () => void = () => {};
  groups.confirms = new Promise((resolve) => {
    confirm = resolve;
  });
  let write: () => void = () => {};
  const written = new Promise<void>((resolve) => {
    write = resolve;
  });
  store.before = () => written;
  hand('x');
  await settle();
  assert.deepEqual(groups.said, []);
  write();
  await settle();
  assert.deepEqual(groups.said, ['x confirming']);
  assert.deepEqual(outlet.publishes, []);
  const [entry] = (await stored(made)).outbound;
  assert.deepEqual(entry?.shared, { text: FILTER, claim: 'token of x' });
  confirm();
  await settle();
  assert.deepEqual(outlet.payloads, ['x']);
  await new Promise<void>((resolve) => session.save(resolve));
  assert.deepEqual((await stored(made)).outbound[0]?.shared, { text: FILTER, claim: '' });
});

test('memberships - a node that died between record and group: the claim is settled before the message is sent again', async () => {
  const first = await make(2);
  first.groups.confirms = new Promise(() => {});
  first.hand('x');
  await settle();
  const record = await stored(first);
  assert.deepEqual(first.outlet.publishes, []);
  const groups = new FakeGroupLog();
  let confirm: () => void = () => {};
  groups.confirms = new Promise((resolve) => {
    confirm = resolve;
  });
  const second = makeSession(first.bench, { groups, record, epoch: 2 });
  second.session.start(0);
  await settle();
  assert.equal(second.outlet.publishes.length, 0);
  confirm();
  await settle();
  assert.deepEqual(groups.said, ['token of x acknowledged']);
  const [again] = second.outlet.publishes;
  assert.deepEqual(
    { payload: again?.payload.toString(), dup: again?.dup, id: again?.messageId },
    { payload: 'x', dup: true, id: record.outbound[0]?.packetId },
  );
  assert.deepEqual(groups.wanted, [255], 'a member again, for what the window has left');
});

test('memberships - [MQTT5 4.8.2-4] what was claimed and comes again is not sent twice', async () => {
  const made = await make(2);
  const { bench, groups, hand, outlet } = made;
  hand('x');
  await settle();
  const record = bench.log.records.at(-1);
  assert.ok(record !== undefined);
  groups.hand(record, { isRepeated: true });
  assert.deepEqual(outlet.payloads, ['x']);
  assert.equal(groups.said.at(-1), 'x forgotten');
});

test('memberships - the end of a connection gives back what was sent with QoS 1, what waits, and QoS 2 that the record does not have', async () => {
  const made = await make(2, { window: 2 });
  const { groups, hand, session, store } = made;
  hand('once', { qos: 1 });
  let isWritten = false;
  let write: () => void = () => {};
  store.before = () =>
    new Promise((resolve) => {
      write = resolve;
    });
  hand('pending');
  hand('waiting');
  await settle();
  const closing = session.close().then(() => {
    isWritten = true;
  });
  await settle();
  assert.deepEqual(groups.said.sort(), ['once released', 'waiting released']);
  while (!isWritten) {
    write();
    await settle();
  }
  await closing;
  assert.deepEqual(groups.said.at(-1), 'pending released');
  assert.deepEqual((await stored(made)).outbound, []);
  assert.deepEqual(groups.wanted, [undefined]);
});

test('memberships - past its lease a node neither sends nor gives back: others have the messages', async () => {
  let mayServe = true;
  const { groups, hand, outlet, session } = await make(1, { mayServe: () => mayServe });
  hand('sent');
  mayServe = false;
  hand('late');
  assert.deepEqual(outlet.payloads, ['sent']);
  await session.close();
  assert.deepEqual(groups.said, ['late forgotten', 'sent forgotten']);
});

test('memberships - a session that another owner has gives nothing back', async () => {
  const { groups, hand, session } = await make(1, { window: 1 });
  hand('sent');
  hand('waiting');
  session.abandon();
  assert.deepEqual(groups.said.sort(), ['sent forgotten', 'waiting forgotten']);
});

test("memberships - a session that ends with its connection: QoS 2 is the client's when it is sent", async () => {
  const { groups, hand, outlet, session } = await make(2, { isDurable: false });
  hand('x');
  assert.deepEqual([outlet.payloads, groups.said], [['x'], ['x acknowledged']]);
  await session.close();
  assert.deepEqual(groups.said, ['x acknowledged']);
});

test('memberships - granted QoS 0: acknowledged when sent; expired and too large: acknowledged and counted', async () => {
  const { bench, groups, hand, outlet } = await make(0);
  hand('x');
  outlet.maximumPacketSize = 20;
  hand('y'.repeat(30));
  hand('z', { expirySeconds: 0 });
  bench.log.time += 5_000;
  assert.equal(outlet.packets.length, 2, 'expiry 0 delivers at once only');
  assert.equal(bench.counters.dropped.tooLargeForSubscriber, 1);
  const late = bench.log.records.at(-1);
  assert.ok(late !== undefined);
  groups.hand(late);
  assert.equal(bench.counters.dropped.expired, 1);
  assert.ok(groups.said.every((said) => said.endsWith(' acknowledged')));
  assert.equal(groups.said.length, 4);
});

test('memberships - asks for what the window has, nothing while messages wait, and again when half of it is free', async () => {
  const { groups, hand, outlet, session } = await make(1, { window: 4 });
  assert.deepEqual(groups.wanted, [4]);
  for (const payload of ['1', '2', '3', '4', '5']) hand(payload);
  assert.equal(outlet.payloads.length, 4);
  assert.deepEqual(groups.wanted, [0]);
  const ids = outlet.publishes.map(({ messageId = 0 }) => messageId);
  session.puback(ids[0] ?? 0);
  assert.equal(outlet.payloads.length, 5);
  assert.deepEqual(groups.wanted, [0]);
  session.puback(ids[1] ?? 0);
  assert.deepEqual(groups.wanted, [0], 'one place is not worth a request');
  session.puback(ids[2] ?? 0);
  assert.deepEqual(groups.wanted, [2]);
  outlet.hasRoom = false;
  hand('6');
  assert.deepEqual(groups.wanted, [0], 'the client does not read');
  outlet.hasRoom = true;
  session.pump();
  assert.equal(outlet.payloads.length, 6);
});

test('memberships - UNSUBSCRIBE gives back what waits and finishes what was sent', async () => {
  const { groups, hand, outlet, session } = await make(1, { window: 1 });
  hand('sent');
  hand('waiting');
  session.unsubscribe(FILTER);
  assert.deepEqual([groups.said, groups.wanted], [['waiting released'], [undefined]]);
  session.puback(outlet.publishes[0]?.messageId ?? 0);
  assert.deepEqual(groups.said, ['waiting released', 'sent acknowledged']);
});

test('memberships - the same message through a group and an ordinary subscription: two deliveries, one position', async () => {
  const made = await make(1);
  const { bench, groups, hand, outlet, session } = made;
  await subscribe(made, bench, 'a', 1);
  hand('x', { qos: 1 });
  await settle();
  assert.deepEqual(outlet.payloads, ['x', 'x']);
  assert.equal(session.inFlight, 2);
  for (const { messageId = 0 } of outlet.publishes) session.puback(messageId);
  assert.equal(session.inFlight, 0);
  assert.deepEqual(groups.said, ['x acknowledged']);
});
