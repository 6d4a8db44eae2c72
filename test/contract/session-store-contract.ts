/**
 * What every SessionStore owes, run against embedded/ and nats/: the same assertions, so that neither can drift from the other.
 * Each test has client ids of its own, so that one store serves all.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { SessionStore } from '../../src/broker/ports.ts';
import { eventually } from '../support/eventually.ts';

/** One store, empty when opened. */
export interface StoreUnderTest {
  readonly store: SessionStore;
  close(): Promise<void>;
}

const TIMEOUT_MILLISECONDS = 60_000;
const everyByte = Buffer.from(Array.from({ length: 512 }, (_, i) => i & 0xff));

/** Runs the suite; `open` is called once. */
export function sessionStoreContract(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`session store contract on ${name}`, { timeout: TIMEOUT_MILLISECONDS }, () => {
    let under: StoreUnderTest;
    let store: SessionStore;
    before(async () => {
      under = await open();
      store = under.store;
    });
    after(() => under.close());

    /** Saves on what is there; the new revision. */
    const save = async (clientId: string, text: string, ttlSeconds = 0): Promise<number> => {
      const { revision } = await store.load(clientId);
      const saved = await store.save(clientId, Buffer.from(text), revision, ttlSeconds);
      assert.ok(saved !== undefined, `${clientId} is saved`);
      return saved;
    };

    const textOf = async (clientId: string): Promise<string | undefined> =>
      (await store.load(clientId)).record?.toString();

    const isGone = async (clientId: string): Promise<boolean> => (await store.load(clientId)).record === undefined;

    test('a client without a session has no record, and revision 0', async () => {
      assert.deepEqual(await store.load('nobody'), { record: undefined, revision: 0 });
    });

    test('creates a record where none is expected, once', async () => {
      const revision = await store.save('created', Buffer.from('1'), 0, 0);
      assert.ok(revision !== undefined && revision > 0);
      assert.deepEqual(await store.load('created'), { record: Buffer.from('1'), revision });
      assert.equal(await store.save('created', Buffer.from('2'), 0, 0), undefined);
      assert.deepEqual(await store.load('created'), { record: Buffer.from('1'), revision });
    });

    test('updates the record that is expected, and no other', async () => {
      const first = await save('updated', '1');
      const second = await store.save('updated', Buffer.from('2'), first, 0);
      assert.ok(second !== undefined && second > first);
      for (const wrong of [first, 0, second + 1_000]) {
        assert.equal(await store.save('updated', Buffer.from('3'), wrong, 0), undefined, `${wrong}`);
      }
      assert.deepEqual(await store.load('updated'), { record: Buffer.from('2'), revision: second });
    });

    test('removes the record that is expected, and no other', async () => {
      const first = await save('removed', '1');
      const second = await save('removed', '2');
      for (const wrong of [first, 0, second + 1_000]) {
        assert.equal(await store.remove('removed', wrong), false, `${wrong}`);
      }
      assert.equal(await textOf('removed'), '2');
      assert.equal(await store.remove('removed', second), true);
      assert.equal(await isGone('removed'), true);
    });

    test('after a removal the revision that is loaded lets a new record in, and those of before do not', async () => {
      const old = await save('again', '1');
      assert.equal(await store.remove('again', old), true);
      assert.equal(await store.remove('again', old), false);
      assert.equal(await store.save('again', Buffer.from('late'), old, 0), undefined);
      const { record, revision } = await store.load('again');
      assert.equal(record, undefined);
      const saved = await store.save('again', Buffer.from('2'), revision, 0);
      assert.ok(saved !== undefined && saved > old);
      assert.equal(await textOf('again'), '2');
      assert.equal(await store.remove('again', saved), true);
      assert.equal(await isGone('again'), true);
    });

    test('of many writers that expect the same, one succeeds', async () => {
      const writers = Array.from({ length: 20 }, (_, i) => `writer ${i}`);
      for (const expected of [0, await save('raced', 'start')]) {
        const clientId = expected === 0 ? 'raced from nothing' : 'raced';
        const answers = await Promise.all(writers.map((text) => store.save(clientId, Buffer.from(text), expected, 0)));
        const winners = writers.filter((_, index) => answers[index] !== undefined);
        assert.equal(winners.length, 1, clientId);
        assert.equal(await textOf(clientId), winners[0]);
      }
    });

    test('of many that remove the same, one succeeds', async () => {
      const revision = await save('removed at once', '1');
      const answers = await Promise.all(Array.from({ length: 20 }, () => store.remove('removed at once', revision)));
      assert.equal(answers.filter(Boolean).length, 1);
    });

    test('a record ends by itself after its time, and the revision that is loaded then lets a new one in', async () => {
      const old = await save('ending', '1', 1);
      assert.equal(await textOf('ending'), '1');
      await eventually(() => isGone('ending'), 'the end of the record');
      assert.equal(await store.save('ending', Buffer.from('late'), old, 0), undefined);
      const { revision } = await store.load('ending');
      const saved = await store.save('ending', Buffer.from('2'), revision, 60);
      assert.ok(saved !== undefined && saved > old);
      assert.equal(await textOf('ending'), '2');
    });

    test('each save sets the time anew: longer, never, or shorter', async () => {
      await save('longer', '1', 1);
      await save('longer', '2', 60);
      await save('never', '1', 1);
      await save('never', '2', 0);
      await save('shorter', '1', 60);
      await save('shorter', '2', 1);
      // saved last, so it ends after all that would have ended
      await save('witness', '1', 1);
      await eventually(() => isGone('witness'), 'the end of the witness');
      await eventually(() => isGone('shorter'), 'the end of the shortened record');
      assert.equal(await textOf('longer'), '2');
      assert.equal(await textOf('never'), '2');
    });

    test('a record that has a time can be updated and removed before it', async () => {
      const first = await save('timed', '1', 60);
      const second = await store.save('timed', Buffer.from('2'), first, 120);
      assert.ok(second !== undefined);
      assert.equal(await textOf('timed'), '2');
      assert.equal(await store.remove('timed', second), true);
      assert.equal(await isGone('timed'), true);
    });

    test('keeps any client id apart from any other', async () => {
      const ids = [
        ' ',
        '.',
        '..',
        '../',
        '../a',
        '/',
        '*',
        '>',
        '#',
        '+',
        '$',
        'a',
        'A',
        'a.b',
        'a/b',
        'a b',
        'a*',
        'a.>',
      ];
      ids.push('😀', '日本', '\u0001', '\u007f', 'id', '\ufeffid', 'id ', 'é', 'e\u0301', '__proto__', 'constructor');
      ids.push('x'.repeat(1_000), `${'x'.repeat(999)}y`, 'é'.repeat(1_000));
      for (const id of ids) assert.ok((await store.save(id, Buffer.from(`of ${id}`), 0, 0)) !== undefined, id);
      for (const id of ids) assert.equal(await textOf(id), `of ${id}`);
      for (const id of ids) {
        assert.equal(await store.remove(id, (await store.load(id)).revision), true, id);
        assert.equal(await isGone(id), true, id);
      }
    });

    test('keeps every byte of a record, whatever its size', async () => {
      const large = Buffer.alloc(Math.min(64 * 1024, store.maximumBytes()), everyByte);
      for (const [index, record] of [everyByte, Buffer.from([0]), large].entries()) {
        assert.ok((await store.save(`bytes ${index}`, record, 0, 0)) !== undefined);
        assert.ok((await store.load(`bytes ${index}`)).record?.equals(record), `record of ${record.length} bytes`);
      }
    });

    test('keeps what was saved when the caller writes into its buffers again', async () => {
      const record = Buffer.from('saved');
      await store.save('shared', record, 0, 0);
      record.fill(0);
      (await store.load('shared')).record?.fill(0);
      assert.equal(await textOf('shared'), 'saved');
    });

    test('takes a record of the largest size, rejects one that is far larger, and stays usable', async () => {
      const maximum = store.maximumBytes();
      assert.ok(maximum >= 64 * 1024, `${maximum}`);
      assert.ok((await store.save('largest', Buffer.alloc(maximum, 1), 0, 0)) !== undefined);
      assert.equal((await store.load('largest')).record?.length, maximum);
      await assert.rejects(store.save('too large', Buffer.alloc(maximum * 2), 0, 0), Error);
      assert.equal(await isGone('too large'), true);
      await save('too large', 'smaller');
    });
  });
}
