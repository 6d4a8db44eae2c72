/**
 * What every WillStore owes, run against embedded/ and nats/: the same assertions, so that neither can drift from the other.
 * Each test has owners of its own, so that one store serves all.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { WillStore } from '../../src/broker/ports.ts';
import { eventually } from '../support/eventually.ts';
import { poll } from '../support/poll.ts';

/** One store, empty when opened. */
export interface WillStoreUnderTest {
  readonly store: WillStore;
  close(): Promise<void>;
}

const TIMEOUT_MILLISECONDS = 60_000;
/** Removed wills are remembered for some seconds. */
const EMPTY_MILLISECONDS = 30_000;
const everyByte = Buffer.from(Array.from({ length: 512 }, (_, i) => i & 0xff));

/** An incarnation, as nodes have them. */
function anyOwner(): string {
  return `${randomBytes(9).toString('base64url')}.${randomBytes(9).toString('base64url')}`;
}

/** Runs the suite; `open` is called once. */
export function willStoreContract(name: string, open: () => Promise<WillStoreUnderTest>): void {
  describe(`will store contract on ${name}`, { timeout: TIMEOUT_MILLISECONDS }, () => {
    let under: WillStoreUnderTest;
    let store: WillStore;
    before(async () => {
      under = await open();
      store = under.store;
    });
    after(() => under.close());

    const save = async (owner: string, clientId: string, text: string): Promise<number> => {
      const { revision } = await store.load(owner, clientId);
      const saved = await store.save(owner, clientId, Buffer.from(text), revision);
      assert.ok(saved !== undefined, `${clientId} is saved`);
      return saved;
    };

    /** All wills of an owner, by pages. */
    const all = async (owner: string): Promise<Map<string, string>> => {
      const found = new Map<string, string>();
      for (let next: number | undefined = 0; next !== undefined; ) {
        const page = await store.page(owner, next);
        for (const { clientId, record } of page.wills) {
          assert.ok(!found.has(clientId), `${clientId} once`);
          found.set(clientId, record.toString());
        }
        next = page.next;
      }
      return found;
    };

    test('a client without a will has none, at revision 0', async () => {
      assert.deepEqual(await store.load(anyOwner(), 'nobody'), { record: undefined, revision: 0 });
    });

    test('creates a will where none is expected, changes the one that is expected, and no other', async () => {
      const owner = anyOwner();
      const first = await store.save(owner, 'c', Buffer.from('1'), 0);
      assert.ok(first !== undefined && first > 0);
      assert.equal(await store.save(owner, 'c', Buffer.from('2'), 0), undefined);
      const second = await store.save(owner, 'c', Buffer.from('2'), first);
      assert.ok(second !== undefined && second > first);
      for (const wrong of [0, first, second + 1_000])
        assert.equal(await store.save(owner, 'c', Buffer.from('3'), wrong), undefined, `${wrong}`);
      assert.deepEqual(await store.load(owner, 'c'), { record: Buffer.from('2'), revision: second });
    });

    test('removes the will that is expected, and no other; the revision that is loaded then lets a new one in', async () => {
      const owner = anyOwner();
      const first = await save(owner, 'c', '1');
      const second = await save(owner, 'c', '2');
      for (const wrong of [0, first, second + 1_000]) assert.equal(await store.remove(owner, 'c', wrong), false);
      assert.equal(await store.remove(owner, 'c', second), true);
      assert.equal(await store.remove(owner, 'c', second), false);
      assert.equal(await store.save(owner, 'c', Buffer.from('late'), second), undefined);
      const { record, revision } = await store.load(owner, 'c');
      assert.equal(record, undefined);
      assert.ok((await store.save(owner, 'c', Buffer.from('3'), revision)) !== undefined);
      assert.deepEqual(await all(owner), new Map([['c', '3']]));
    });

    test('of many that change or remove the same, one succeeds', async () => {
      const owner = anyOwner();
      const revision = await save(owner, 'c', '1');
      const answers = await Promise.all(
        Array.from({ length: 20 }, async (_, index) =>
          index % 2 === 0
            ? store.remove(owner, 'c', revision)
            : (await store.save(owner, 'c', Buffer.from('2'), revision)) !== undefined,
        ),
      );
      assert.equal(answers.filter(Boolean).length, 1);
    });

    test('wills of several owners, and of clients with any id, are kept apart', async () => {
      const owners = [anyOwner(), anyOwner()] as const;
      const ids = ['.', '..', '*', '>', '/', 'a b', 'a.b', '', '😀', '__proto__', 'x'.repeat(1_000)];
      for (const owner of owners) for (const id of ids) await save(owner, id, `${owner} ${id}`);
      for (const owner of owners) {
        for (const id of ids)
          assert.equal((await store.load(owner, id)).record?.toString(), `${owner} ${id}`, `client id ${id}`);
        assert.deepEqual(await all(owner), new Map(ids.map((id) => [id, `${owner} ${id}`])));
      }
    });

    test('pages show each will once, whatever their number, and what was removed not at all', async () => {
      const owner = anyOwner();
      const ids = Array.from({ length: 700 }, (_, index) => `client ${index}`);
      const revisions = await Promise.all(ids.map((id) => save(owner, id, id)));
      await Promise.all(ids.slice(0, 100).map((id, index) => store.remove(owner, id, revisions[index] ?? 0)));
      await Promise.all(ids.slice(600).map((id) => save(owner, id, `${id} again`)));
      const wanted = new Map(ids.slice(100).map((id, index) => [id, index < 500 ? id : `${id} again`]));
      assert.deepEqual(await all(owner), wanted);
      const [first] = (await store.page(owner, 0)).wills;
      assert.ok(
        first !== undefined && (await store.remove(owner, first.clientId, first.revision)),
        'its revision fits',
      );
    });

    test('an owner is empty when it never had a will, and some time after its last one was removed', async () => {
      const owner = anyOwner();
      assert.equal(await store.isEmpty(owner), true);
      const revision = await save(owner, 'c', '1');
      assert.equal(await store.isEmpty(owner), false);
      await store.remove(owner, 'c', revision);
      await poll(() => store.isEmpty(owner), { what: 'an empty owner', timeoutMs: EMPTY_MILLISECONDS });
    });

    test('owners are listed from their mark on until it is taken away, whether they have wills or not', async () => {
      const [marked, unmarked, other] = [anyOwner(), anyOwner(), anyOwner()];
      await store.mark(marked);
      await store.mark(marked);
      await store.mark(unmarked);
      await save(unmarked, 'c', '1');
      await save(other, 'c', '1');
      const listed = async (): Promise<string[]> =>
        (await store.owners()).filter((owner) => [marked, unmarked, other].includes(owner)).sort();
      assert.deepEqual(await listed(), [marked, unmarked].sort());
      await store.unmark(unmarked);
      await eventually(async () => (await listed()).length === 1, 'the end of a mark');
      assert.deepEqual(await listed(), [marked]);
      assert.equal((await store.load(unmarked, 'c')).record?.toString(), '1');
      assert.deepEqual(await all(unmarked), new Map([['c', '1']]), 'a mark is no will');
    });

    test('keeps every byte, and what was saved when the caller writes into its buffers again', async () => {
      const owner = anyOwner();
      const record = Buffer.from(everyByte);
      await store.save(owner, 'c', record, 0);
      record.fill(0);
      (await store.load(owner, 'c')).record?.fill(0);
      assert.ok((await store.load(owner, 'c')).record?.equals(everyByte));
    });

    test('takes a will of the largest size, rejects one that is far larger, and stays usable', async () => {
      const owner = anyOwner();
      const maximum = store.maximumBytes();
      assert.ok(maximum >= 64 * 1024, `${maximum}`);
      assert.ok((await store.save(owner, 'largest', Buffer.alloc(maximum, 1), 0)) !== undefined);
      assert.equal((await store.page(owner, 0)).wills[0]?.record.length, maximum);
      await assert.rejects(store.save(owner, 'too large', Buffer.alloc(maximum * 2), 0), Error);
      await save(owner, 'too large', 'smaller');
    });
  });
}
