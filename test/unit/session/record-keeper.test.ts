/** session/record-keeper.ts over a store that is slow, silent, or somebody else's by now. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { decodeRecord, encodeRecord, type SessionRecord } from '../../../src/session/record.ts';
import { RecordKeeper, ttlOf } from '../../../src/session/record-keeper.ts';
import { eventually } from '../../support/eventually.ts';
import { settle } from '../../support/session-harness.ts';
import { ShiftedClock } from '../../support/shifted-clock.ts';
import { FakeStore } from '../../support/wired-node.ts';

// Pauses between two attempts keep no process alive: here something has to.
const alive = setInterval(() => {}, 1_000);
after(() => clearInterval(alive));

interface Bench {
  readonly store: FakeStore;
  readonly clock: ShiftedClock;
  readonly keeper: RecordKeeper;
  /** What a snapshot says. */
  state: SessionRecord;
  fenced: number;
  stored(): Promise<SessionRecord | undefined>;
}

async function makeBench(): Promise<Bench> {
  const clock = new ShiftedClock();
  const store = new FakeStore(clock);
  const state: SessionRecord = {
    clientId: 'c',
    uid: 'uid',
    epoch: 3,
    user: '',
    owner: 'me',
    writes: 0,
    expirySeconds: 60,
    wills: [],
    log: 'log',
    subscriptions: [],
    outbound: [],
    done: [],
    inbound: [],
  };
  const revision = (await store.save('c', encodeRecord(state), 0, 0)) ?? 0;
  store.saves = 0;
  const bench: Bench = {
    store,
    clock,
    state,
    fenced: 0,
    keeper: new RecordKeeper({
      store,
      clientId: 'c',
      revision,
      snapshot: (writes) => ({ ...bench.state, writes }),
      fenced: () => {
        bench.fenced++;
      },
    }),
    stored: async () => {
      const { record } = await store.load('c');
      return record === undefined ? undefined : decodeRecord(record);
    },
  };
  return bench;
}

function gate(): { readonly opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Another owner writes. */
async function takeOver({ state, store }: Bench, changes: Partial<SessionRecord>): Promise<void> {
  const { revision } = await store.load('c');
  await store.save('c', encodeRecord({ ...state, ...changes }), revision, 0);
}

test('keeper - all who save in one turn share one write, and hear of it when it is done', async () => {
  const bench = await makeBench();
  const slow = gate();
  bench.store.before = () => slow.opened;
  const told: number[] = [];
  for (let caller = 0; caller < 5; caller++) bench.keeper.save(() => told.push(caller));
  await settle();
  assert.equal(bench.store.saves, 1);
  assert.deepEqual(told, []);
  slow.open();
  await settle();
  assert.deepEqual(told, [0, 1, 2, 3, 4]);
  assert.equal(bench.store.saves, 1);
});

test('keeper - one write at a time; who comes meanwhile waits for the next one, which has the state of then', async () => {
  const bench = await makeBench();
  const [first, second] = [gate(), gate()];
  bench.store.before = () => first.opened;
  const told: string[] = [];
  bench.keeper.save(() => told.push('first'));
  await settle();
  bench.store.before = () => second.opened;
  bench.state = { ...bench.state, done: [7] };
  bench.keeper.save(() => told.push('second'));
  bench.keeper.save(() => told.push('third'));
  first.open();
  await settle();
  assert.deepEqual(told, ['first']);
  assert.deepEqual((await bench.stored())?.done, [], 'the first write had the state from before');
  second.open();
  await settle();
  assert.deepEqual(told, ['first', 'second', 'third']);
  assert.deepEqual((await bench.stored())?.done, [7]);
  assert.equal(bench.store.saves, 2);
  assert.equal(bench.store.mostAtOnce, 1);
});

test('keeper - who saves at the very moment a write has ended is not forgotten', async () => {
  for (let delay = 0; delay < 8; delay++) {
    const bench = await makeBench();
    let isTold = false;
    const later = async (): Promise<void> => {
      for (let turn = 0; turn < delay; turn++) await Promise.resolve();
      bench.keeper.save(() => {
        isTold = true;
      });
    };
    bench.keeper.save(() => void later());
    await settle();
    assert.ok(isTold, `after ${delay} microtasks`);
  }
});

test('keeper - an answer that got lost: the write is found, and goes on from there', async () => {
  const bench = await makeBench();
  let lost = 0;
  bench.store.after = async () => {
    if (lost++ === 0) throw new Error('no answer');
  };
  bench.state = { ...bench.state, done: [1] };
  await bench.keeper.saved();
  assert.equal(bench.fenced, 0);
  bench.state = { ...bench.state, done: [2] };
  await bench.keeper.saved();
  assert.deepEqual((await bench.stored())?.done, [2]);
});

test('keeper - an answer that got lost several times, also of the last write', async () => {
  const bench = await makeBench();
  let left = 3;
  bench.store.after = async () => {
    if (left-- > 0) throw new Error('no answer');
  };
  bench.state = { ...bench.state, owner: '' };
  await bench.keeper.end(60);
  assert.equal(bench.fenced, 0);
  assert.equal((await bench.stored())?.owner, '');
});

test('keeper - a store that is away: tried until it answers, with the state of then', async () => {
  const bench = await makeBench();
  let isAway = true;
  bench.store.before = async () => {
    if (isAway) throw new Error('away');
  };
  let isTold = false;
  bench.keeper.save(() => {
    isTold = true;
  });
  await eventually(() => bench.store.saves >= 2);
  assert.ok(!isTold);
  bench.state = { ...bench.state, done: [9] };
  isAway = false;
  await eventually(() => isTold);
  assert.deepEqual((await bench.stored())?.done, [9]);
});

for (const [title, changes] of [
  ['a later epoch', { epoch: 4, owner: 'other' }],
  ['another session of the client', { uid: 'another' }],
  ['another owner in the same epoch', { owner: 'other' }],
] as const) {
  test(`keeper - ${title} in the store: told once, nothing is written, nobody waits for an answer any more`, async () => {
    const bench = await makeBench();
    await takeOver(bench, changes);
    let told = 0;
    bench.keeper.save(() => told++);
    await eventually(() => bench.fenced > 0);
    bench.keeper.save(() => told++);
    await settle();
    assert.equal(bench.fenced, 1);
    assert.equal(told, 0);
    const { epoch, owner, uid } = { ...bench.state, ...changes };
    const stored = await bench.stored();
    assert.deepEqual([stored?.epoch, stored?.owner, stored?.uid], [epoch, owner, uid]);
  });
}

test('keeper - a record that is gone is somebody else doing', async () => {
  const bench = await makeBench();
  const { revision } = await bench.store.load('c');
  await bench.store.remove('c', revision);
  bench.keeper.save(() => assert.fail('not written'));
  await eventually(() => bench.fenced === 1);
  assert.equal(await bench.stored(), undefined);
});

test('keeper - the last write gives the record its end, and waits for one under way', async () => {
  const bench = await makeBench();
  const slow = gate();
  bench.store.before = () => slow.opened;
  bench.keeper.save(() => {});
  await settle();
  const ending = bench.keeper.end(30);
  bench.state = { ...bench.state, owner: '' };
  slow.open();
  await ending;
  assert.equal((await bench.stored())?.owner, '');
  bench.keeper.save(() => assert.fail('it has ended'));
  await settle();
  bench.clock.pass(29);
  assert.ok((await bench.stored()) !== undefined);
  bench.clock.pass(2);
  assert.equal(await bench.stored(), undefined);
});

test('keeper - the end of a session that another owner has resolves too', async () => {
  const bench = await makeBench();
  await takeOver(bench, { epoch: 4, owner: 'other' });
  await bench.keeper.end(30);
  assert.equal((await bench.stored())?.owner, 'other');
  bench.clock.pass(31);
  assert.ok((await bench.stored()) !== undefined, 'without an end');
});

test('keeper - remove waits for a write under way, and nothing is written after it', async () => {
  const bench = await makeBench();
  const slow = gate();
  bench.store.before = () => slow.opened;
  bench.keeper.save(() => bench.keeper.save(() => {}));
  await settle();
  const removing = bench.keeper.remove();
  slow.open();
  await removing;
  await settle();
  assert.equal(await bench.stored(), undefined);
});

test('keeper - abandoned: nothing is written', async () => {
  const bench = await makeBench();
  bench.keeper.save(() => assert.fail('abandoned'));
  bench.keeper.abandon();
  await settle();
  assert.equal(bench.store.saves, 0);
});

test('keeper - the store hears 0 for a session that never ends', () => {
  assert.equal(ttlOf(0xffff_ffff), 0);
  assert.equal(ttlOf(0xffff_fffe), 0xffff_fffe);
});
