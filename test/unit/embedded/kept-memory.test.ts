/** What the stores in memory keep of small records: their bytes, and not the part of Node's pool that their copies would lie in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { EmbeddedRetainedStore } from '../../../src/embedded/retained-store.ts';
import { EmbeddedSessionStore } from '../../../src/embedded/session-store.ts';
import { EmbeddedWillStore } from '../../../src/embedded/will-store.ts';
import { makeTopic } from '../../../src/message.ts';
import { ManualClock } from './manual-clock.ts';

// The function that Node has with --expose-gc.
setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

const RECORDS = 5_000;
/** Of a record beside its 20 bytes. */
const OVERHEAD_BYTES = 400;

/** Bytes outside the heap that each record has added, with as much other use of the pool in between as a busy node has. */
async function bytesEach(keep: (record: Buffer, number: number) => unknown): Promise<number> {
  collectGarbage();
  const before = process.memoryUsage().arrayBuffers;
  for (let number = 0; number < RECORDS; number++) {
    await keep(Buffer.from('twenty bytes of text'), number);
    for (let used = 0; used < 8_192; used += 1_024) Buffer.allocUnsafe(1_024);
  }
  const each = (): number => (process.memoryUsage().arrayBuffers - before) / RECORDS;
  // Buffers are given back by a thread of their own, behind the collection.
  for (let tries = 0; tries < 100 && each() >= OVERHEAD_BYTES; tries++) {
    collectGarbage();
    await pause(20);
  }
  return each();
}

test('embedded stores - a small session, will or retained message keeps no more memory than its own', async () => {
  const clock = new ManualClock();
  const sessions = new EmbeddedSessionStore({ clock });
  const wills = new EmbeddedWillStore();
  const retained = new EmbeddedRetainedStore({ clock });
  const kept = {
    session: await bytesEach((record, number) => sessions.save(`s${number}`, record, 0, 0)),
    will: await bytesEach((record, number) => wills.save('node', `c${number}`, record, 0)),
    retained: await bytesEach((payload, number) => {
      const extras = { properties: Buffer.from([1, 1]), retain: true, origin: '' };
      const message = { route: makeTopic(`t/${number}`), payload, qos: 0, extras, expirySeconds: undefined } as const;
      retained.put({ ...message, sequence: number + 1 }, () => {});
    }),
  };
  for (const [store, bytes] of Object.entries(kept)) assert.ok(bytes < OVERHEAD_BYTES, `${store}: ${bytes} bytes each`);
  assert.equal(sessions.size, RECORDS, 'they are all there');
});
