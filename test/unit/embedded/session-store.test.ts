/** Time and memory of the session store in memory, driven by a clock of the test's; what every store owes is test/contract. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EmbeddedSessionStore } from '../../../src/embedded/session-store.ts';
import { ManualClock } from './manual-clock.ts';

const record = Buffer.from('record');

describe('embedded session store', () => {
  test('a record ends exactly after its time, one without time never', async () => {
    const clock = new ManualClock();
    const store = new EmbeddedSessionStore({ clock });
    await store.save('a', record, 0, 10);
    await store.save('b', record, 0, 0);
    clock.pass(9.999);
    assert.deepEqual((await store.load('a')).record, record);
    clock.pass(0.001);
    assert.deepEqual(await store.load('a'), { record: undefined, revision: 0 });
    clock.pass(4_294_967_295);
    assert.deepEqual((await store.load('b')).record, record);
  });

  test('an ended record can neither be updated nor removed, but replaced', async () => {
    const clock = new ManualClock();
    const store = new EmbeddedSessionStore({ clock });
    const revision = (await store.save('a', record, 0, 1)) ?? 0;
    clock.pass(1);
    assert.equal(await store.save('a', record, revision, 1), undefined);
    assert.equal(await store.remove('a', revision), false);
    assert.ok(((await store.save('a', record, 0, 1)) ?? 0) > revision);
  });

  test('ended records that nobody asks for leave memory when others are saved, and no others do', async () => {
    const clock = new ManualClock();
    const store = new EmbeddedSessionStore({ clock });
    for (let i = 0; i < 50_000; i++) {
      await store.save(`short ${i}`, record, 0, 60);
      clock.pass(1);
    }
    assert.ok(store.size <= 1_100, `${store.size} records`);
    for (let i = 0; i < 5_000; i++) await store.save(`long ${i}`, record, 0, 0);
    clock.pass(60);
    for (let i = 0; i < 10_000; i++) await store.save('long', record, (await store.load('long')).revision, 0);
    assert.equal(store.size, 5_001);
  });
});
