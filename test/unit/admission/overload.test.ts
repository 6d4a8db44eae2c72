/** admission/overload.ts: when a node has too much to do, on a clock and with figures that the test has in its hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Overload, type Shortage } from '../../../src/admission/overload.ts';
import { ManualClock } from '../embedded/manual-clock.ts';

const MIB = 1024 * 1024;

interface Figures {
  delay: number;
  resident: number;
  heapUsed: number;
}

interface Watched {
  readonly overload: Overload;
  readonly clock: ManualClock;
  readonly changes: ReadonlyArray<[Shortage, boolean]>;
  /** What is short after so many ticks with these figures. */
  ticks(count: number, figures?: Partial<Figures>): Shortage | undefined;
}

function watch(limits: { maximumDelayMilliseconds?: number; maximumMemoryBytes?: number }): Watched {
  const clock = new ManualClock();
  const state: Figures = { delay: 0, resident: 100 * MIB, heapUsed: 50 * MIB };
  const changes: Array<[Shortage, boolean]> = [];
  const overload = new Overload({
    maximumDelayMilliseconds: 0,
    maximumMemoryBytes: 0,
    ...limits,
    clock,
    memoryUse: () => ({ resident: state.resident, heapUsed: state.heapUsed, heapLimit: 1_000 * MIB }),
    loopDelay: { longest: () => state.delay, stop: () => {} },
    changed: (shortage, isShort) => changes.push([shortage, isShort]),
  });
  const ticks = (count: number, figures: Partial<Figures> = {}): Shortage | undefined => {
    Object.assign(state, figures);
    for (let i = 0; i < count; i++) clock.pass(0.1);
    return overload.shortage;
  };
  return { overload, changes, clock, ticks };
}

test('overload - a loop that stays late is one, a single pause is none', () => {
  const { changes, ticks } = watch({ maximumDelayMilliseconds: 500 });
  assert.equal(ticks(5, { delay: 10 }), undefined);
  assert.equal(ticks(1, { delay: 60_000 }), undefined);
  assert.equal(ticks(5, { delay: 10 }), undefined);
  assert.equal(ticks(5, { delay: 600 }), 'eventLoop');
  assert.deepEqual(changes, [['eventLoop', true]]);
});

test('overload - it ends at half of what began it, and each change is told once', () => {
  const { changes, ticks } = watch({ maximumDelayMilliseconds: 500 });
  ticks(10, { delay: 600 });
  assert.equal(ticks(10, { delay: 300 }), 'eventLoop');
  assert.equal(ticks(10, { delay: 240 }), undefined);
  assert.equal(ticks(10, { delay: 400 }), undefined);
  assert.deepEqual(changes, [
    ['eventLoop', true],
    ['eventLoop', false],
  ]);
});

test('overload - resident memory above the limit, and a heap that is nearly full without one', () => {
  const limited = watch({ maximumMemoryBytes: 500 * MIB });
  assert.equal(limited.ticks(5, { resident: 499 * MIB }), undefined);
  assert.equal(limited.ticks(5, { resident: 501 * MIB }), 'memory');
  assert.equal(limited.ticks(5, { resident: 490 * MIB }), 'memory');
  assert.equal(limited.ticks(5, { resident: 470 * MIB }), undefined);
  const unlimited = watch({});
  assert.equal(unlimited.ticks(5, { resident: 10_000 * MIB }), undefined);
  assert.equal(unlimited.ticks(5, { heapUsed: 901 * MIB }), 'memory');
});

test('overload - a stopped one has no timer left', () => {
  const { clock, overload } = watch({ maximumDelayMilliseconds: 500 });
  assert.equal(clock.taskCount, 1);
  overload.stop();
  assert.equal(clock.taskCount, 0);
});

test('overload - by default the delay is that of this process', async () => {
  const clock = new ManualClock();
  const overload = new Overload({
    maximumDelayMilliseconds: 50,
    maximumMemoryBytes: 0,
    clock,
    changed: () => {},
  });
  for (let i = 0; i < 3; i++) {
    await pause(40); // the measure is native: it has to begin before the loop is held up, and to see the end of it
    const until = performance.now() + 150;
    while (performance.now() < until);
    await pause(40);
    clock.pass(0.1);
  }
  assert.equal(overload.shortage, 'eventLoop');
  overload.stop();
});
