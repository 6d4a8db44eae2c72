/** session/feed.ts over a log that loses, repeats and withholds: readers get each message once, per topic in order. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { LogRecord } from '../../../src/broker/ports.ts';
import { type Counters, makeCounters } from '../../../src/counters.ts';
import { Feed, type FeedReader } from '../../../src/session/feed.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeLog } from '../../support/fake-log.ts';
import { settle } from '../../support/session-harness.ts';

// Pauses between two attempts keep no process alive: here something has to.
const alive = setInterval(() => {}, 1_000);
after(() => clearInterval(alive));

class FakeReader implements FeedReader {
  index = 0;
  readonly taken: string[] = [];
  readonly overruns: number[] = [];
  proofs = 0;
  accepts = true;

  take({ payload, topic }: LogRecord): boolean {
    if (this.accepts) this.taken.push(`${topic.name} ${payload.toString()}`);
    return this.accepts;
  }

  overrun(base: number): void {
    this.overruns.push(base);
  }

  proven(): void {
    this.proofs++;
  }
}

interface Bench {
  readonly log: FakeLog;
  readonly feed: Feed;
  readonly reader: FakeReader;
  readonly counters: Counters;
}

async function open(filter: string): Promise<Bench> {
  const log = new FakeLog();
  const counters = makeCounters();
  const [pattern] = log.patterns(filter);
  assert.ok(pattern !== undefined);
  const feed = new Feed(pattern, log, counters);
  const reader = new FakeReader();
  feed.attach(reader);
  await feed.open();
  return { log, feed, reader, counters };
}

/** Messages 0 … count - 1, all on one topic. */
function append({ log }: Bench, count: number, { copies = 1, from = 0, topic = 'a' } = {}): string[] {
  return Array.from({ length: count }, (_, index) => {
    log.append(topic, { payload: String(from + index), copies });
    return `${topic} ${from + index}`;
  });
}

for (const filter of ['a', '+']) {
  test(`feed ${filter} - live messages go on at once, a second copy does not`, async () => {
    const bench = await open(filter);
    const expected = append(bench, 5, { copies: 2 });
    assert.deepEqual(bench.reader.taken, expected);
    bench.log.deliver(bench.log.records[1] as LogRecord);
    assert.deepEqual(bench.reader.taken, expected);
    assert.equal(bench.counters.logHoles, 0);
    assert.equal(bench.log.asked.read + bench.log.asked.readNext, 0);
  });

  test(`feed ${filter} - a message whose predecessor did not come waits until that was read, and so do those behind it`, async () => {
    const bench = await open(filter);
    append(bench, 2);
    append(bench, 2, { from: 2, copies: 0 });
    append(bench, 1, { from: 4 });
    assert.deepEqual(bench.reader.taken, ['a 0', 'a 1']);
    append(bench, 3, { from: 5 });
    await settle();
    assert.deepEqual(
      bench.reader.taken,
      Array.from({ length: 8 }, (_, index) => `a ${index}`),
    );
    assert.equal(bench.counters.logHoles, 1);
    append(bench, 1, { from: 8 });
    assert.equal(bench.reader.taken.length, 9, 'live again');
  });

  test(`feed ${filter} - the loss of the last message is found by a look at the log`, async () => {
    const bench = await open(filter);
    append(bench, 2);
    append(bench, 1, { from: 2, copies: 0 });
    await settle();
    assert.equal(bench.reader.taken.length, 2);
    await bench.feed.check();
    assert.deepEqual(bench.reader.taken, ['a 0', 'a 1', 'a 2']);
    assert.ok(bench.counters.logRepaired > 0);
    assert.equal(bench.feed.verified, 3);
    assert.equal(bench.reader.proofs, 1);
    assert.ok(!bench.feed.isUnproven);
    // The copy comes after all.
    bench.log.deliver(bench.log.records[2] as LogRecord);
    assert.equal(bench.reader.taken.length, 3);
  });

  test(`feed ${filter} - a replica that lags behind proves nothing`, async () => {
    const bench = await open(filter);
    append(bench, 3);
    append(bench, 2, { from: 3, copies: 0 });
    bench.log.replicaHas = 2;
    await bench.feed.check();
    assert.deepEqual(bench.reader.taken.length, 5);
    assert.equal(bench.feed.verified, 5);
  });

  test(`feed ${filter} - what comes between following and opening is held, and handed out if it is behind the end of then`, async () => {
    const log = new FakeLog();
    const [pattern] = log.patterns(filter);
    assert.ok(pattern !== undefined);
    log.append('a', { payload: 'before' });
    const feed = new Feed(pattern, log, makeCounters());
    const reader = new FakeReader();
    feed.attach(reader);
    let isOpened = false;
    void feed.opened.then(() => {
      isOpened = true;
    });
    let answer = (): void => {};
    log.gate = (question) =>
      question === 'state'
        ? new Promise((resolve) => {
            answer = resolve;
          })
        : Promise.resolve();
    const opening = feed.open();
    log.append('a', { payload: 'meanwhile' });
    await settle();
    assert.ok(!isOpened);
    await feed.check();
    assert.deepEqual(reader.taken, [], 'no look before it is open');
    answer();
    await opening;
    await settle();
    assert.ok(isOpened);
    log.append('a', { payload: 'after' });
    assert.deepEqual(reader.taken, ['a after'], 'the end was asked for after the second one');
  });

  test(`feed ${filter} - more held messages than there is room for: the log is read once more, nothing is lost or turned round`, async () => {
    const bench = await open(filter);
    let release = (): void => {};
    bench.log.gate = (question) =>
      question === 'state'
        ? new Promise((resolve) => {
            release = resolve;
          })
        : Promise.resolve();
    append(bench, 1);
    append(bench, 1, { from: 1, copies: 0 });
    append(bench, 3_000, { from: 2 });
    await settle();
    assert.equal(bench.reader.taken.length, 1, 'held');
    bench.log.gate = async () => {};
    release();
    await eventually(() => bench.reader.taken.length === 3_002);
    assert.deepEqual(
      bench.reader.taken,
      Array.from({ length: 3_002 }, (_, index) => `a ${index}`),
    );
    append(bench, 1, { from: 3_002 });
    assert.equal(bench.reader.taken.length, 3_003, 'live again');
  });
}

test('feed - what comes behind the end of the log that a repair has asked for is handed out after it', async () => {
  const bench = await open('+');
  let release = (): void => {};
  bench.log.gate = (question) =>
    question === 'read'
      ? new Promise((resolve) => {
          release = resolve;
        })
      : Promise.resolve();
  append(bench, 1, { copies: 0 });
  append(bench, 1, { from: 1 });
  await settle();
  append(bench, 3, { from: 2 });
  // The answer has what the log had when it was asked.
  bench.log.replicaHas = 2;
  release();
  await settle();
  assert.deepEqual(bench.reader.taken, ['a 0', 'a 1', 'a 2', 'a 3', 'a 4']);
  assert.equal(bench.feed.verified, 2);
});

test('feed - topics of one pattern do not wait for each other, and each is in order', async () => {
  const bench = await open('+');
  append(bench, 1, { topic: 'x' });
  append(bench, 1, { topic: 'y' });
  append(bench, 1, { topic: 'x', from: 1, copies: 0 });
  append(bench, 1, { topic: 'y', from: 1 });
  append(bench, 1, { topic: 'x', from: 2 });
  append(bench, 1, { topic: 'y', from: 2 });
  await settle();
  const of = (topic: string): string[] => bench.reader.taken.filter((text) => text.startsWith(topic));
  assert.deepEqual(of('x'), ['x 0', 'x 1', 'x 2']);
  assert.deepEqual(of('y'), ['y 0', 'y 1', 'y 2']);
});

test('feed - a log that does not answer is asked again; what is held goes out then', async () => {
  const bench = await open('+');
  let failures = 2;
  bench.log.gate = async () => {
    if (failures-- > 0) throw new Error('away');
  };
  append(bench, 1, { copies: 0 });
  append(bench, 1, { from: 1 });
  await eventually(() => bench.reader.taken.length === 2);
  assert.deepEqual(bench.reader.taken, ['a 0', 'a 1']);
});

test('feed - many look at once: one look', async () => {
  const bench = await open('+');
  append(bench, 1);
  await Promise.all([bench.feed.check(), bench.feed.check(), bench.feed.check()]);
  assert.equal(bench.log.asked.read, 1);
});

test('feed - an exact pattern is its own proof: nothing stays unproven, and a quiet look costs one question', async () => {
  const bench = await open('a');
  append(bench, 10);
  append(bench, 10, { topic: 'other' });
  assert.ok(!bench.feed.isUnproven);
  assert.equal(bench.feed.verified, 10);
  await bench.feed.check();
  assert.deepEqual([bench.log.asked.read, bench.log.asked.readNext], [0, 1]);
  assert.equal(bench.feed.verified, 20, 'and moves the position past other topics');
});

test('feed - who cannot take is served later, from where it stopped, and nobody waits for it', async () => {
  const bench = await open('+');
  const slow = new FakeReader();
  slow.accepts = false;
  bench.feed.attach(slow);
  const expected = append(bench, 10);
  assert.deepEqual(bench.reader.taken, expected);
  assert.deepEqual(slow.taken, []);
  slow.accepts = true;
  bench.feed.serve(slow);
  assert.deepEqual(slow.taken, expected);
  assert.deepEqual(append(bench, 1, { from: 10 }), [bench.reader.taken.at(-1)]);
  assert.equal(slow.taken.at(-1), 'a 10');
});

test('feed - the position of a reader that waits is not beyond what it has taken', async () => {
  const bench = await open('+');
  const slow = new FakeReader();
  slow.accepts = false;
  bench.feed.attach(slow);
  append(bench, 2);
  await bench.feed.check();
  append(bench, 2, { from: 2 });
  assert.equal(bench.feed.verified, 2);
  assert.equal(bench.feed.positionAt(bench.reader.index), 2);
  assert.equal(bench.feed.positionAt(slow.index), 0);
  slow.accepts = true;
  bench.feed.serve(slow);
  assert.equal(bench.feed.positionAt(slow.index), 2);
});

test('feed - a reader that lags by more than the ring holds is let go, with the position from which it has to read', async () => {
  const bench = await open('a');
  const slow = new FakeReader();
  bench.feed.attach(slow);
  append(bench, 3);
  slow.accepts = false;
  const padding = 'x'.repeat(30_000);
  for (let count = 0; count < 20; count++) bench.log.append('a', { payload: padding });
  assert.deepEqual(slow.overruns, [3]);
  assert.equal(bench.reader.taken.length, 23);
  slow.accepts = true;
  bench.feed.serve(slow);
  assert.equal(slow.taken.length, 3, 'no longer served');
  bench.feed.attach(slow);
  append(bench, 1, { from: 100 });
  assert.equal(slow.taken.at(-1), 'a 100');
});

test('feed - closed: nothing is handed out, nobody waits for it, and the log is left', async () => {
  const bench = await open('a');
  bench.feed.close();
  append(bench, 1);
  assert.deepEqual(bench.reader.taken, []);
  assert.equal(bench.log.followerCount, 0);
  const never = new Feed({ key: 'b', isExact: true }, bench.log, bench.counters);
  never.close();
  await never.opened;
});
