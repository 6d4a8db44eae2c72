/**
 * What every RetainedStore owes, run against embedded/ and nats/: the same assertions, so that neither can drift from the other.
 * Each test has topics of its own, so that one store serves all.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { LogOutcome, RetainedMessage, RetainedPut, RetainedStore, Route } from '../../src/broker/ports.ts';

/** One store, empty when opened. */
export interface RetainedUnderTest {
  readonly store: RetainedStore;
  makeRoute(topic: string): Route | undefined;
  now(): number;
  /** A position of the log that nobody else gets. */
  nextSequence(): Promise<number>;
  close(): Promise<void>;
}

const TIMEOUT_MILLISECONDS = 60_000;
const START = { position: 0, isBroad: false };
/** Larger than what the store looks up at once. */
const MANY = 5_000;

/** Runs the suite; `open` is called once. */
export function retainedStoreContract(name: string, open: () => Promise<RetainedUnderTest>): void {
  describe(`retained store contract on ${name}`, { timeout: TIMEOUT_MILLISECONDS }, () => {
    let under: RetainedUnderTest;
    before(async () => {
      under = await open();
    });
    after(() => under.close());
    /** Of the last put. */
    let sequence = 0;

    const put = async (topic: string, payload: string, more: Partial<RetainedPut> = {}): Promise<LogOutcome> => {
      const route = under.makeRoute(topic);
      assert.ok(route !== undefined);
      const extras = { properties: Buffer.alloc(0), retain: true, origin: '' };
      const message = { route, payload: Buffer.from(payload), qos: 1 as const, extras, expirySeconds: undefined };
      const mine = more.sequence ?? (await under.nextSequence());
      sequence = mine;
      return new Promise((resolve) => under.store.put({ ...message, ...more, sequence: mine }, resolve));
    };

    /** Everything that matches, over all pages. */
    const find = async (filter: string, from = START): Promise<RetainedMessage[]> => {
      const found: RetainedMessage[] = [];
      const since = under.now();
      for (let cursor: typeof START | undefined = from; cursor !== undefined; ) {
        const page: Awaited<ReturnType<RetainedStore['page']>> = await under.store.page(filter, cursor, since);
        found.push(...page.messages);
        assert.ok(page.next === undefined || page.next.position > cursor.position, 'it goes forward');
        cursor = page.next;
      }
      return found;
    };

    const texts = async (filter: string): Promise<string[]> =>
      (await find(filter)).map(({ payload, topic }) => `${topic.name}=${payload.toString()}`).sort();

    test('the last message of a topic is found, with everything it carries', async () => {
      await put('one', 'first');
      const properties = Buffer.from([0x26, 0, 1, 0x61, 0, 1, 0x62]);
      await put('one', 'last', { qos: 2, extras: { properties, retain: true, origin: 'someone' } });
      const [message, ...others] = await find('one');
      assert.deepEqual(others, []);
      assert.deepEqual(message?.payload, Buffer.from('last'));
      assert.deepEqual(message?.extras, { properties, retain: true, origin: 'someone' });
      assert.deepEqual([message?.topic.name, message?.qos, message?.sequence], ['one', 2, sequence]);
      assert.deepEqual(await find('nothing-there'), []);
    });

    for (const qos of [0, 1, 2] as const) {
      test(`QoS ${qos} is kept`, async () => {
        await put(`qos/${qos}`, 'x', { qos });
        assert.equal((await find(`qos/${qos}`))[0]?.qos, qos);
      });
    }

    test('an earlier message of the log never takes the place of a later one, and is done all the same', async () => {
      const [first, second, third] = [
        await under.nextSequence(),
        await under.nextSequence(),
        await under.nextSequence(),
      ];
      await put('order', 'later', { sequence: third });
      assert.equal(await put('order', 'earlier', { sequence: second }), 'stored');
      assert.equal(await put('order', '', { sequence: first }), 'stored');
      assert.deepEqual(await texts('order'), ['order=later']);
    });

    test('an empty payload removes; what is older does not come back, what is later does', async () => {
      await put('removed', 'x');
      const before = sequence;
      await put('removed', '');
      assert.deepEqual(await find('removed'), []);
      assert.deepEqual(await find('removed/#'), []);
      await put('removed', 'older', { sequence: before });
      await put('removed', 'again');
      assert.deepEqual(await texts('removed'), ['removed=again']);
    });

    test('a message that expires is kept with its interval', async () => {
      const properties = Buffer.from([0x02, 0, 0, 0, 100]);
      const more = { extras: { properties, retain: true, origin: '' }, expirySeconds: 100 };
      assert.equal(await put('expires', 'x', more), 'stored');
      const [message] = await find('expires');
      assert.equal(message?.expirySeconds, 100);
      assert.ok(Math.abs((message?.storedAt ?? 0) - Date.now()) < 60_000);
    });

    test('many puts for one topic at once: all are done, the last one stays', async () => {
      const outcomes = await Promise.all(Array.from({ length: 200 }, (_, index) => put('burst', String(index))));
      assert.ok(outcomes.every((outcome) => outcome === 'stored'));
      assert.deepEqual(await texts('burst'), ['burst=199']);
    });

    test('filters: what matches, once each, and nothing else', async () => {
      for (const topic of ['t/a', 't/b', 't/a/c', 't', 'u/a', '/t', 't/', 't/ä b*>.']) await put(topic, 'x');
      assert.deepEqual(await texts('t/+'), ['t/=x', 't/a=x', 't/b=x', 't/ä b*>.=x']);
      assert.deepEqual(await texts('t/#'), ['t/=x', 't/a/c=x', 't/a=x', 't/b=x', 't/ä b*>.=x', 't=x']);
      assert.deepEqual(await texts('+/a'), ['t/a=x', 'u/a=x']);
      assert.deepEqual(await texts('t/+/c'), ['t/a/c=x']);
      assert.deepEqual(await texts('v/#'), []);
    });

    test('what matches more than is looked up at once comes in pages, whole', async () => {
      await Promise.all(Array.from({ length: MANY }, (_, index) => put(`many/${index}`, String(index))));
      await put('many', 'parent');
      assert.equal(new Set(await texts('many/#')).size, MANY + 1);
      const found = await find('many/+');
      assert.equal(found.length, MANY);
      const middle = found[700]?.position ?? 0;
      const rest = await find('many/+', { position: middle, isBroad: false });
      assert.equal(rest.length, MANY - 701, 'from a position on');
      const first = await under.store.page('many/+', START, under.now());
      assert.ok(first.messages.length <= 512, 'a page is bounded');
    });

    test('a reader that began before a message was put may miss it; one that begins afterwards does not', async () => {
      await put('shared/a', 'x');
      assert.deepEqual(await texts('shared/#'), ['shared/a=x']);
      await put('shared/b', 'x');
      assert.deepEqual(await texts('shared/#'), ['shared/a=x', 'shared/b=x']);
    });
  });
}
