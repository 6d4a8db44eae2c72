/** What the log in memory does at its bounds, driven by a clock of the test's; what every log owes is test/contract. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { LogOutcome, LogPublish, LogRecord } from '../../../src/broker/ports.ts';
import { EmbeddedLog } from '../../../src/embedded/log.ts';
import { makeTopic } from '../../../src/message.ts';
import { ManualClock } from './manual-clock.ts';

interface Answer {
  readonly outcome: LogOutcome;
  readonly sequence: number;
}

function open(options: { maximumBytes?: number; maximumAgeSeconds?: number } = {}) {
  const clock = new ManualClock();
  const log = new EmbeddedLog({ maximumAgeSeconds: 0, clock, ...options });
  const store = (topic: string, payload = '', beside: Partial<LogPublish> = {}): Promise<Answer> =>
    new Promise((resolve) => {
      log.publish({
        route: makeTopic(topic),
        payload: Buffer.from(payload),
        qos: 1,
        extras: undefined,
        expirySeconds: undefined,
        messageId: '',
        settled: (outcome, sequence) => resolve({ outcome, sequence }),
        ...beside,
      });
    });
  return { clock, log, store };
}

async function read(log: EmbeddedLog, filter: string, after = 0, limit = 1_000): Promise<number[]> {
  const [pattern] = log.patterns(filter) ?? [];
  assert.ok(pattern !== undefined);
  return (await log.read(pattern, after, limit)).records.map(({ sequence }) => sequence);
}

describe('embedded log', () => {
  test('the oldest messages go when the memory is used up', async () => {
    const { log, store } = open({ maximumBytes: 100_000 });
    for (let i = 1; i <= 5_000; i++) assert.equal((await store('a', 'x'.repeat(1_000))).sequence, i);
    const { first, last } = await log.state();
    assert.equal(last, 5_000);
    const held = last - first + 1;
    assert.ok(held > 70 && held < 100, `${held} messages held`);
    assert.deepEqual(
      await read(log, 'a'),
      Array.from({ length: held }, (_, i) => first + i),
    );
    assert.equal(await log.readAt(first - 1), undefined);
    assert.equal((await log.readAt(first))?.sequence, first);
  });

  test('a message larger than the whole log is too large, in its turn, and pushes nothing out', async () => {
    const { log, store } = open({ maximumBytes: 10_000 });
    const answers = await Promise.all([store('a'), store('a', 'x'.repeat(10_000)), store('a')]);
    assert.deepEqual(answers, [
      { outcome: 'stored', sequence: 1 },
      { outcome: 'tooLarge', sequence: 0 },
      { outcome: 'stored', sequence: 2 },
    ]);
    assert.equal((await log.state()).first, 1);
  });

  test('messages beyond the maximum age go, and an empty log keeps its position', async () => {
    const { clock, log, store } = open({ maximumAgeSeconds: 100 });
    await store('a');
    clock.pass(60);
    await store('a');
    clock.pass(41);
    const { first, last, identity } = await log.state();
    assert.deepEqual([first, last], [2, 2]);
    clock.pass(60);
    assert.deepEqual(await log.state(), { identity, first: 3, last: 2, isOnlyCopy: true });
    assert.deepEqual(await read(log, 'a'), []);
    assert.equal((await store('a')).sequence, 3);
  });

  test('an expired message stays for an hour and then goes, wherever it stands', async () => {
    const { clock, log, store } = open();
    await store('a');
    await store('a', '', { expirySeconds: 10 });
    await store('b', '', { expirySeconds: 100 });
    await store('a');
    clock.pass(3_610);
    assert.deepEqual(await read(log, '#'), [1, 2, 3, 4]);
    clock.pass(1);
    assert.deepEqual(await read(log, '#'), [1, 3, 4]);
    assert.equal(await log.readAt(2), undefined);
    clock.pass(100);
    assert.deepEqual(await read(log, '#'), [1, 4]);
    assert.deepEqual(await read(log, 'b'), []);
    assert.equal((await log.state()).first, 1);
  });

  test('expired messages in the midst give their memory back without being looked at', async () => {
    const { clock, log, store } = open({ maximumBytes: 100_000 });
    await store('kept');
    for (let i = 0; i < 80; i++) await store('a', 'x'.repeat(900), { expirySeconds: 1 });
    clock.pass(3_700);
    for (let i = 0; i < 80; i++) await store('a', 'x'.repeat(900));
    assert.equal((await log.state()).first, 1);
    assert.deepEqual(await read(log, 'kept'), [1]);
  });

  test('a message names the one before it that the log still holds, past those that have gone', async () => {
    const { clock, log, store } = open({ maximumBytes: 5_000 });
    await store('a');
    for (let i = 0; i < 3; i++) await store('a', '', { expirySeconds: 1 });
    clock.pass(3_700);
    const { sequence } = await store('a');
    assert.equal((await log.readAt(sequence))?.previous, 1);
    for (let i = 0; i < 50; i++) await store('b');
    assert.equal(await log.readAt(sequence), undefined);
    assert.equal((await log.readAt((await store('a')).sequence))?.previous, 0);
  });

  test('a message id is known for two minutes, even when its message has gone', async () => {
    const { clock, log, store } = open({ maximumBytes: 5_000 });
    await store('a', '', { messageId: 'x' });
    clock.pass(119);
    for (let i = 0; i < 50; i++) await store('b');
    assert.equal(await log.readAt(1), undefined);
    assert.deepEqual(await store('a', '', { messageId: 'x' }), { outcome: 'stored', sequence: 1 });
    clock.pass(1);
    assert.deepEqual(await store('a', '', { messageId: 'x' }), { outcome: 'stored', sequence: 52 });
    // known anew
    clock.pass(119);
    assert.equal((await store('a', '', { messageId: 'x' })).sequence, 52);
  });

  test('a follower has a message before its publisher has the answer, and may leave or join meanwhile', async () => {
    const { log, store } = open();
    const [pattern] = log.patterns('a') ?? [];
    assert.ok(pattern !== undefined);
    const seen: string[] = [];
    const { end } = log.follow(pattern, ({ sequence }: LogRecord) => {
      seen.push(`live ${sequence}`);
      end();
      log.follow(pattern, (record) => seen.push(`joined ${record.sequence}`));
    });
    const settled = (_: LogOutcome, sequence: number) => seen.push(`settled ${sequence}`);
    log.publish({ ...blank, settled });
    log.publish({ ...blank, settled });
    await log.settleAll(1_000);
    assert.ok(seen.indexOf('live 1') < seen.indexOf('settled 1'));
    assert.ok(seen.indexOf('joined 2') < seen.indexOf('settled 2'));
    assert.ok(seen.indexOf('settled 1') < seen.indexOf('settled 2'));
    assert.ok(!seen.includes('live 2'));
    await store('b');
    assert.equal(seen.filter((entry) => entry.startsWith('live')).length, 1);
  });

  test('settleAll waits for what settled messages publish in their turn', async () => {
    const { log } = open();
    let rounds = 0;
    const settled = (): void => {
      if (++rounds < 10) log.publish({ ...blank, settled });
    };
    log.publish({ ...blank, settled });
    await log.settleAll(1_000);
    assert.equal(rounds, 10);
  });

  test('a closed log settles nothing more and leaves no timer', async () => {
    const { clock, log, store } = open();
    let isSettled = false;
    const settled = (): void => {
      isSettled = true;
    };
    await store('a');
    assert.equal(clock.taskCount, 1);
    log.publish({ ...blank, settled });
    await log.close();
    log.publish({ ...blank, settled });
    await log.settleAll(1_000);
    await turn();
    assert.equal(isSettled, false);
    assert.equal(clock.taskCount, 0);
  });

  test('a long read lets others have their turn, and meets what was pushed out and what came meanwhile', async () => {
    const { log, store } = open({ maximumBytes: 10_000_000 });
    await Promise.all(Array.from({ length: 20_000 }, (_, i) => store(`a/${i % 10}`)));
    await store('rare/1');
    let turns = 0;
    let isDone = false;
    const reading = read(log, 'rare/+').finally(() => {
      isDone = true;
    });
    while (!isDone) {
      turns++;
      if (turns === 2) await Promise.all(Array.from({ length: 30_000 }, () => store('b')));
      await turn();
    }
    assert.ok(turns > 5, `${turns} turns`);
    assert.ok((await log.state()).first > 10_000);
    assert.deepEqual(await reading, [20_001]);
  });

  test('two logs never take each other for one', async () => {
    const [a, b] = [await open().log.state(), await open().log.state()];
    assert.notEqual(a.identity, b.identity);
  });
});

const blank = {
  route: makeTopic('a'),
  payload: Buffer.alloc(0),
  qos: 1,
  extras: undefined,
  expirySeconds: undefined,
  messageId: '',
} as const;
