/** The queue of messages against a plain list that is searched from the front. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import type { LogRecord } from '../../../src/broker/ports.ts';
import { RecordQueue, recordBytes } from '../../../src/embedded/record-queue.ts';
import { makeTopic } from '../../../src/message.ts';

const MAXIMUM_BYTES = 5_000;
const MAXIMUM_AGE_SECONDS = 10_000;

const step = fc.record({
  topic: fc.constantFrom('a', 'b', 'c'),
  bytes: fc.constantFrom(0, 0, 0, 100, 1_000),
  expirySeconds: fc.constantFrom(undefined, 1, 1_000),
  pauseSeconds: fc.constantFrom(0, 0, 0, 500, 3_700),
  isSwept: fc.boolean(),
});

function isOver({ storedAt, expirySeconds }: LogRecord, now: number): boolean {
  const age = (now - storedAt) / 1_000;
  return age > MAXIMUM_AGE_SECONDS || (expirySeconds !== undefined && age > expirySeconds + 3_600);
}

test('record queue - holds what a plain list would, through pushing out, ageing and expiry', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new RecordQueue(MAXIMUM_BYTES, MAXIMUM_AGE_SECONDS);
      let list: LogRecord[] = [];
      let now = 1_700_000_000_000;
      for (const [index, { topic, bytes, expirySeconds, pauseSeconds, isSwept }] of steps.entries()) {
        now += pauseSeconds * 1_000;
        // both forget what is over before they make room, so that they make room for the same
        queue.sweep(now);
        list = list.filter((record) => !isOver(record, now));
        const previous = list.findLast((record) => record.topic.name === topic)?.sequence ?? 0;
        assert.equal(queue.lastOn(topic), previous);
        const record: LogRecord = {
          sequence: index + 1,
          previous,
          topic: makeTopic(topic),
          payload: Buffer.alloc(bytes),
          qos: 1,
          extras: undefined,
          expirySeconds,
          storedAt: now,
          messageId: '',
        };
        queue.push(record);
        list.push(record);
        while (list.reduce((sum, held) => sum + recordBytes(held), 0) > MAXIMUM_BYTES) list.shift();
        if (isSwept) queue.sweep(now);
        assert.equal(queue.last, index + 1);
        assert.equal(queue.first, list[0]?.sequence ?? index + 2);
        for (let sequence = 0; sequence <= index + 2; sequence++) {
          assert.equal(
            queue.at(sequence, now),
            list.find((held) => held.sequence === sequence),
          );
        }
      }
    }),
    { numRuns: 1_000 },
  );
});

const topic = makeTopic('a');
const beside = { qos: 1, extras: undefined, expirySeconds: undefined, storedAt: 0, messageId: '' } as const;

test('record queue - a million messages through a small queue leave no memory behind, nor take long', () => {
  const queue = new RecordQueue(MAXIMUM_BYTES, 0);
  const payload = Buffer.alloc(0);
  const before = usedMemory().heapUsed;
  const started = performance.now();
  for (let sequence = 1; sequence <= 1_000_000; sequence++) {
    queue.push({ sequence, previous: sequence - 1, topic, payload, ...beside });
  }
  assert.ok(performance.now() - started < 5_000);
  const grown = usedMemory().heapUsed - before;
  assert.equal(queue.last, 1_000_000);
  assert.ok(queue.last - queue.first < 20);
  // one place for each would be 8 MB
  assert.ok(grown < 3e6, `${grown} bytes`);
});

test('record queue - the payloads of messages that have gone are not held until their places are reused', () => {
  const queue = new RecordQueue(1_000_000, 0);
  const before = usedMemory().arrayBuffers;
  for (let sequence = 1; sequence <= 500; sequence++) {
    queue.push({ sequence, previous: sequence - 1, topic, payload: Buffer.alloc(200_000), ...beside });
  }
  const grown = usedMemory().arrayBuffers - before;
  assert.ok(queue.last - queue.first < 5);
  // all of them would be 100 MB
  assert.ok(grown < 5e6, `${grown} bytes`);
});

/** What is in use once the garbage is gone. */
function usedMemory(): NodeJS.MemoryUsage {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
  return process.memoryUsage();
}
