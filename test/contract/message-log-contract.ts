/**
 * What every MessageLog owes, run against embedded/ and nats/: the same assertions, so that neither can drift from the other.
 * Each test has topics of its own, so that one log serves all.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { LogOutcome, LogPublish, LogRecord, MessageLog, Route } from '../../src/broker/ports.ts';
import type { Extras } from '../../src/message.ts';
import { eventually } from '../support/eventually.ts';

/** One log, empty when opened, and what the suite needs beside it. */
export interface LogUnderTest {
  readonly log: MessageLog;
  makeRoute(topic: string): Route | undefined;
  close(): Promise<void>;
}

interface Answer {
  readonly outcome: LogOutcome;
  readonly sequence: number;
}

/** A message that can be waited for. */
interface TestMessage extends LogPublish {
  readonly done: Promise<Answer>;
}

type MessageOptions = Partial<Pick<LogPublish, 'qos' | 'extras' | 'expirySeconds' | 'messageId'>>;

const TIMEOUT_MILLISECONDS = 60_000;
const properties = Buffer.from([0x26, 0, 1, 0x61, 0, 1, 0x62, 0x26, 0, 1, 0x61, 0, 1, 0x62, 0x09, 0, 3, 0, 0xff, 0x0a]);

/** What a message that expires carries: an interval is always among its properties too. */
function expiring(seconds: number, ...before: Buffer[]): Pick<LogPublish, 'extras' | 'expirySeconds'> {
  const interval = Buffer.from([0x02, 0, 0, 0, 0]);
  interval.writeUInt32BE(seconds, 1);
  return {
    extras: { properties: Buffer.concat([...before, interval]), retain: true, origin: 'origin-1' },
    expirySeconds: seconds,
  };
}

/** Runs the suite; `open` is called once. */
export function messageLogContract(name: string, open: () => Promise<LogUnderTest>): void {
  describe(`message log contract on ${name}`, { timeout: TIMEOUT_MILLISECONDS }, () => {
    let under: LogUnderTest;
    let log: MessageLog;
    before(async () => {
      under = await open();
      log = under.log;
    });
    after(() => under.close());

    const message = (topic: string, payload: string | Uint8Array, options: MessageOptions = {}): TestMessage => {
      const route = under.makeRoute(topic);
      assert.ok(route !== undefined, `${topic} has a route`);
      let settle: (answer: Answer) => void = () => {};
      const done = new Promise<Answer>((resolve) => {
        settle = resolve;
      });
      let calls = 0;
      return {
        route,
        payload: Buffer.from(payload),
        qos: 1,
        extras: undefined,
        expirySeconds: undefined,
        messageId: '',
        ...options,
        done,
        settled(outcome, sequence) {
          assert.equal(++calls, 1, 'settled once');
          settle({ outcome, sequence });
        },
      };
    };

    /** Resolves with the positions. */
    const store = async (...messages: TestMessage[]): Promise<number[]> => {
      for (const entry of messages) log.publish(entry);
      const answers = await Promise.all(messages.map(({ done }) => done));
      for (const { outcome } of answers) assert.equal(outcome, 'stored');
      return answers.map(({ sequence }) => sequence);
    };

    const patternsOf = (filter: string) => {
      const patterns = log.patterns(filter);
      assert.ok(patterns !== undefined, `${filter} has patterns`);
      return patterns;
    };

    /** Follows a filter as the node does; in effect when resolved. */
    const follow = async (filter: string, into: LogRecord[]): Promise<() => void> => {
      const ends = patternsOf(filter).map((pattern) => log.follow(pattern, (record) => into.push(record)).end);
      await log.confirm();
      return () => {
        for (const end of ends) end();
      };
    };

    /** Resolves when a message stored last has come live: so has everything before it. */
    const arrive = async (): Promise<void> => {
      const marker: LogRecord[] = [];
      const end = await follow('contract/marker', marker);
      await store(message('contract/marker', ''));
      await eventually(() => marker.length > 0, 'the live marker');
      end();
    };

    /** Everything behind `position`, read in pages as the node reads: an empty page proves nothing, the leader's word does. */
    const readAll = async (filter: string, position = 0, limit = 256): Promise<LogRecord[]> => {
      const records: LogRecord[] = [];
      for (const pattern of patternsOf(filter)) {
        let last = position;
        for (;;) {
          const { records: page } = await log.read(pattern, last, limit);
          assert.ok(page.length <= limit, `${page.length} messages in a page of ${limit}`);
          const next = page.length > 0 ? undefined : await log.readNext(pattern, last);
          const got = next === undefined ? page : [next];
          if (got.length === 0) break;
          records.push(...got);
          last = got.at(-1)?.sequence ?? last;
        }
      }
      return records.sort((a, b) => a.sequence - b.sequence);
    };

    const payloads = (records: readonly LogRecord[]): string[] => records.map(({ payload }) => payload.toString());
    const topics = (records: readonly LogRecord[]): string[] => records.map(({ topic }) => topic.name);
    const sequences = (records: readonly LogRecord[]): number[] => records.map(({ sequence }) => sequence);
    const isGrowing = (numbers: readonly number[]): boolean =>
      numbers.every((number, index) => index === 0 || number > (numbers[index - 1] ?? 0));
    const numbers = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i));

    test('an empty log begins behind its end and has nothing to read', async () => {
      const { first, last } = await log.state();
      assert.equal(first, last + 1);
      const [pattern] = patternsOf('nothing');
      assert.ok(pattern !== undefined);
      assert.deepEqual((await log.read(pattern, 0, 10)).records, []);
      assert.equal(await log.readNext(pattern, 0), undefined);
      assert.equal(await log.readAt(1), undefined);
    });

    test('stores 1,000 messages in order, with growing positions, and settles them in that order', async () => {
      const settled: number[] = [];
      const messages = numbers(1_000).map((text) => message(`order/${Number(text) % 3}`, text));
      for (const [index, { done }] of messages.entries()) done.then(() => settled.push(index));
      const positions = await store(...messages);
      assert.ok(isGrowing(positions));
      assert.ok((positions[0] ?? 0) >= 1);
      assert.deepEqual(settled, [...messages.keys()]);
      const records = await readAll('order/+');
      assert.deepEqual(payloads(records), numbers(1_000));
      assert.deepEqual(sequences(records), positions);
    });

    test('settles after the call that published has returned', async () => {
      let hasReturned = false;
      let wasReturned: boolean | undefined;
      const entry = message('later', '');
      const { settled } = entry;
      log.publish({
        ...entry,
        settled: (outcome, sequence) => {
          wasReturned = hasReturned;
          settled(outcome, sequence);
        },
      });
      hasReturned = true;
      await entry.done;
      assert.equal(wasReturned, true);
    });

    test('a settled message may publish the next one', async () => {
      const last = message('chain', '2');
      const first = message('chain', '1');
      log.publish({
        ...first,
        settled: (outcome, sequence) => {
          first.settled(outcome, sequence);
          log.publish(last);
        },
      });
      assert.equal((await last.done).outcome, 'stored');
      assert.deepEqual(payloads(await readAll('chain')), ['1', '2']);
    });

    test('a follower gets each message once and in order, with its position', async () => {
      const live: LogRecord[] = [];
      const end = await follow('live/+', live);
      const positions = await store(...numbers(500).map((text) => message(`live/${Number(text) % 7}`, text)));
      await arrive();
      end();
      assert.deepEqual(payloads(live), numbers(500));
      assert.deepEqual(sequences(live), positions);
      assert.deepEqual(
        topics(live),
        numbers(500).map((text) => `live/${Number(text) % 7}`),
      );
    });

    test('a live message names the one before it on its topic', async () => {
      const live: LogRecord[] = [];
      const end = await follow('previous/#', live);
      const order = ['a', 'b', 'a', 'a', 'c', 'b', 'a'];
      const positions = await store(...order.map((level) => message(`previous/${level}`, level)));
      await arrive();
      end();
      const lastOn = new Map<string, number>();
      const expected = order.map((level, index) => {
        const previous = lastOn.get(level) ?? 0;
        lastOn.set(level, positions[index] ?? 0);
        return previous;
      });
      assert.deepEqual(
        live.map(({ previous }) => previous),
        expected,
      );
    });

    test('keeps topic, payload, QoS, properties, retain flag, origin, expiry and id, live and when read', async () => {
      const live: LogRecord[] = [];
      const end = await follow('kept/#', live);
      const origin: Extras = { properties: Buffer.alloc(0), retain: false, origin: 'origin-2' };
      const sent = [
        message('kept/bare', 'bare'),
        message('kept/all', 'all', { qos: 2, messageId: 'kept-1', ...expiring(600, properties) }),
        message('kept/properties', 'p', { extras: { properties, retain: false, origin: '' } }),
        message('kept/origin', 'o', { qos: 2, extras: origin }),
        message('kept/expiry', 'e', { messageId: 'kept-2', ...expiring(4_294_967_295) }),
      ];
      const positions = await store(...sent);
      await arrive();
      end();
      const expected = sent.map(({ route, payload, qos, extras: beside, expirySeconds, messageId }, index) => ({
        sequence: positions[index],
        name: route.name,
        encoded: route.encoded,
        payload,
        qos,
        properties: beside?.properties,
        retain: beside?.retain,
        origin: beside?.origin,
        expirySeconds,
        messageId,
      }));
      const simple = ({ sequence, topic, payload, qos, extras: beside, expirySeconds, messageId }: LogRecord) => ({
        sequence,
        ...{ name: topic.name, encoded: topic.encoded },
        payload,
        qos,
        ...{ properties: beside?.properties, retain: beside?.retain, origin: beside?.origin },
        expirySeconds,
        messageId,
      });
      assert.deepEqual(live.map(simple), expected);
      assert.deepEqual((await readAll('kept/#')).map(simple), expected);
      const byPosition = await Promise.all(positions.map((sequence) => log.readAt(sequence)));
      assert.deepEqual(
        byPosition.map((record) => record && simple(record)),
        expected,
      );
    });

    test('stamps messages that expire by the clock of now()', async () => {
      const live: LogRecord[] = [];
      const end = await follow('stamped', live);
      const earliest = log.now();
      const [sequence = 0] = await store(message('stamped', '', expiring(600)));
      const latest = log.now();
      await arrive();
      end();
      for (const record of [live[0], await log.readAt(sequence)]) {
        assert.ok(record !== undefined);
        // nats-server's clock is this machine's, asked over the network
        assert.ok(
          record.storedAt > earliest - 2_000 && record.storedAt < latest + 2_000,
          `${record.storedAt - earliest}`,
        );
      }
    });

    test('[MQTT5 4.7.1-1] `a/#` covers `a` and everything below, once each', async () => {
      const live: LogRecord[] = [];
      const end = await follow('parent/#', live);
      const names = ['parent', 'parent/', 'parent/a', 'parent/a/b', 'parents', 'other', 'parent'];
      await store(...names.map((topic) => message(topic, topic)));
      await arrive();
      end();
      const expected = ['parent', 'parent/', 'parent/a', 'parent/a/b', 'parent'];
      assert.deepEqual(topics(live), expected);
      assert.deepEqual(topics(await readAll('parent/#')), expected);
    });

    test('[MQTT5 4.7.2-1] wildcards at the first level see no topic that starts with `$`', async () => {
      const { last } = await log.state();
      const live = new Map<string, LogRecord[]>(['#', '+/dollar', '+/#'].map((filter) => [filter, []]));
      const ends = await Promise.all([...live].map(([filter, into]) => follow(filter, into)));
      await store(...['$x/dollar', 'x/dollar', 'x/$x/dollar'].map((topic) => message(topic, topic)));
      await arrive();
      for (const end of ends) end();
      const expected: Record<string, string[]> = {
        '#': ['x/dollar', 'x/$x/dollar', 'contract/marker'],
        '+/dollar': ['x/dollar'],
        '+/#': ['x/dollar', 'x/$x/dollar', 'contract/marker'],
      };
      for (const [filter, records] of live) {
        assert.deepEqual(topics(records), expected[filter], `live ${filter}`);
        assert.deepEqual(topics(await readAll(filter, last)), expected[filter], `read ${filter}`);
      }
    });

    test('carries every legal topic unchanged: a leading U+FEFF, dots, spaces, empty levels, wildcards of NATS', async () => {
      const { last } = await log.state();
      const names = [
        '\ufeffx',
        'x',
        '\ufeff/a',
        'a.b',
        '.',
        'a b',
        '*',
        '>',
        'a/*/b>',
        '/',
        '//',
        '/a',
        'a//b',
        'Ä/日本/😀',
      ];
      names.push('\u0001/\u007f', 'a\tb\r\nc');
      const live: LogRecord[] = [];
      const all: LogRecord[] = [];
      const ends = [await follow('#', all)];
      for (const name of names) ends.push(await follow(name, live));
      await store(
        ...names.map((topic) => message(topic, topic, { extras: { properties, retain: false, origin: '' } })),
      );
      await store(...names.map((topic) => message(topic, topic)));
      await arrive();
      for (const end of ends) end();
      const twice = [...names, ...names];
      assert.deepEqual(topics(live), twice);
      assert.deepEqual(payloads(live), twice);
      assert.deepEqual(topics(all), [...twice, 'contract/marker']);
      assert.deepEqual(topics(await readAll('#', last)), [...twice, 'contract/marker']);
      for (const name of names) assert.deepEqual(topics(await readAll(name, last)), [name, name]);
    });

    test('keeps payloads of 0 bytes and of 200 KiB intact, and pages of large ones are never empty', async () => {
      const { last } = await log.state();
      const large = Buffer.from(Array.from({ length: 200 * 1024 }, (_, i) => (i * 31 + (i >> 8)) & 0xff));
      const live: LogRecord[] = [];
      const end = await follow('sizes', live);
      const contents = [Buffer.alloc(0), large, large, Buffer.from([0]), large, large];
      await store(...contents.map((payload) => message('sizes', payload)));
      await arrive();
      end();
      for (const records of [live, await readAll('sizes', last)]) {
        assert.equal(records.length, contents.length);
        for (const [index, content] of contents.entries())
          assert.ok(records[index]?.payload.equals(content), `${index}`);
      }
      const [pattern] = patternsOf('sizes');
      assert.ok(pattern !== undefined);
      const { records: page } = await log.read(pattern, last, 256);
      assert.ok(page.length >= 1 && page.length < contents.length, `${page.length} of 800 KiB in a page`);
    });

    test('reads what follows a position, in order and without leaving anything out, at any page size', async () => {
      const positions = await store(
        ...numbers(200).flatMap((text) => [message(`read/${Number(text) % 5}`, text), message('unread', text)]),
      );
      const mine = positions.filter((_, index) => index % 2 === 0);
      for (const limit of [1, 7, 199, 200, 1_000]) {
        assert.deepEqual(sequences(await readAll('read/+', 0, limit)), mine, `limit ${limit}`);
      }
      for (const start of [0, 1, 99, 198]) {
        const behind = mine.slice(start + 1);
        assert.deepEqual(sequences(await readAll('read/+', mine[start], 50)), behind, `behind ${start}`);
        // a position between two messages
        assert.deepEqual(sequences(await readAll('read/+', (mine[start] ?? 0) + 1, 50)), behind, `after ${start}`);
      }
      const [pattern] = patternsOf('read/+');
      assert.ok(pattern !== undefined);
      assert.deepEqual(sequences((await log.read(pattern, 0, 7)).records), mine.slice(0, 7));
    });

    test('a reader that keeps reading while messages come leaves none out', async () => {
      const messages = numbers(1_000).map((text) => message(`while/${Number(text) % 3}`, text));
      const stored = store(...messages);
      const records: LogRecord[] = [];
      await eventually(async () => {
        records.push(...(await readAll('while/+', records.at(-1)?.sequence ?? 0, 64)));
        return records.length >= messages.length;
      }, '1,000 messages');
      await stored;
      assert.deepEqual(payloads(records), numbers(1_000));
    });

    test('readNext gives the first message behind a position, and nothing at the end', async () => {
      const [first = 0, , third = 0] = await store(
        message('next/a', '1'),
        message('beside', ''),
        message('next/a', '2'),
        message('next/b', '3'),
      );
      const [pattern] = patternsOf('next/a');
      assert.ok(pattern !== undefined);
      assert.equal((await log.readNext(pattern, 0))?.sequence, first);
      assert.equal((await log.readNext(pattern, first - 1))?.sequence, first);
      assert.equal((await log.readNext(pattern, first))?.sequence, third);
      assert.equal((await log.readNext(pattern, first + 1))?.payload.toString(), '2');
      assert.equal(await log.readNext(pattern, third), undefined);
      assert.equal(await log.readNext(pattern, third + 1_000), undefined);
      assert.deepEqual((await log.read(pattern, third, 10)).records, []);
    });

    test('readAt gives the message at a position whatever its topic, and nothing where there is none', async () => {
      const positions = await store(message('at/a', '1'), message('at/b', '2'));
      const records = await Promise.all(positions.map((sequence) => log.readAt(sequence)));
      assert.deepEqual(
        records.map((record) => record?.topic.name),
        ['at/a', 'at/b'],
      );
      assert.equal(await log.readAt((positions.at(-1) ?? 0) + 1_000), undefined);
    });

    test('state names the oldest and the newest message and always the same log', async () => {
      const earlier = await log.state();
      const [position = 0] = await store(message('state', ''));
      const later = await log.state();
      assert.ok(earlier.identity !== '');
      assert.equal(later.identity, earlier.identity);
      assert.ok(earlier.last < position);
      assert.equal(later.last, position);
      assert.equal(later.first, earlier.last === 0 ? position : earlier.first);
      assert.ok((await log.readAt(later.first)) !== undefined);
    });

    test('answers many callers at once', async () => {
      const [position = 0] = await store(message('many', '1'));
      const [pattern] = patternsOf('many');
      assert.ok(pattern !== undefined);
      const asked = Array.from({ length: 100 }, async () => {
        await log.confirm();
        const [state, page, next, at] = await Promise.all([
          log.state(),
          log.read(pattern, 0, 10),
          log.readNext(pattern, 0),
          log.readAt(position),
        ]);
        return [state.last, page.records[0]?.sequence, next?.sequence, at?.sequence];
      });
      for (const answer of await Promise.all(asked))
        assert.deepEqual(
          answer,
          Array.from({ length: 4 }, () => position),
        );
    });

    test('a message id is stored once: the second is settled with the position of the first and not followed', async () => {
      const live: LogRecord[] = [];
      const end = await follow('twice/#', live);
      const [first] = await store(message('twice/a', '1', { messageId: 'twice-1', qos: 2 }));
      // one after the other, then at once, with another message between
      const [again] = await store(message('twice/a', '1', { messageId: 'twice-1', qos: 2 }));
      const [one, between, two, three] = await store(
        message('twice/b', '2', { messageId: 'twice-2' }),
        message('twice/c', '3', { messageId: 'twice-3' }),
        message('twice/b', '2', { messageId: 'twice-2' }),
        message('twice/a', '1', { messageId: 'twice-1' }),
      );
      await arrive();
      end();
      assert.equal(again, first);
      assert.equal(two, one);
      assert.equal(three, first);
      assert.deepEqual(sequences(live), [first, one, between]);
      assert.deepEqual(sequences(await readAll('twice/#')), [first, one, between]);
    });

    test('messages without an id are all stored', async () => {
      const positions = await store(message('same', 'x'), message('same', 'x'), message('same', 'x'));
      assert.equal(new Set(positions).size, 3);
      assert.deepEqual(sequences(await readAll('same')), positions);
    });

    test('two followers of one pattern both get a message; one that has left gets no more, and leaving twice does no harm', async () => {
      const live: LogRecord[] = [];
      const other: LogRecord[] = [];
      const end = await follow('left', live);
      const endOther = await follow('left', other);
      await store(message('left', '1'));
      await arrive();
      end();
      end();
      await store(message('left', '2'));
      await arrive();
      endOther();
      assert.deepEqual(payloads(live), ['1']);
      assert.deepEqual(payloads(other), ['1', '2']);
    });

    test('a follower sees nothing that was stored before it', async () => {
      await store(message('before', '1'));
      await arrive();
      const live: LogRecord[] = [];
      const end = await follow('before', live);
      await store(message('before', '2'));
      await arrive();
      end();
      assert.deepEqual(payloads(live), ['2']);
    });

    test('equal filters have equal patterns; only a pattern without wildcard is exact; patterns of one filter differ', () => {
      for (const filter of ['key/a', 'key/+', 'key/#', '#', '+/#', '/', '$x/#']) {
        const keys = patternsOf(filter).map(({ key }) => key);
        assert.ok(keys.length > 0);
        assert.equal(new Set(keys).size, keys.length, filter);
        assert.deepEqual(
          patternsOf(filter).map(({ key }) => key),
          keys,
        );
      }
      assert.deepEqual(
        patternsOf('key/a').map(({ isExact }) => isExact),
        [true],
      );
      assert.ok(patternsOf('key/+').every(({ isExact }) => !isExact));
    });

    test('refuses filters that are too long or too deep, and stays usable', async () => {
      assert.equal(log.patterns('y'.repeat(65_535)), undefined);
      assert.equal(log.patterns(`${'a/'.repeat(2_000)}#`), undefined);
      await log.confirm();
      await store(message('usable', ''));
    });

    test('settleAll resolves once nothing is under way, at once when nothing was', async () => {
      let settled = 0;
      const messages = numbers(100).map((text) => message('settle', text));
      for (const entry of messages) {
        log.publish({
          ...entry,
          settled: (outcome, sequence) => {
            settled++;
            entry.settled(outcome, sequence);
          },
        });
      }
      await log.settleAll(30_000);
      assert.equal(settled, messages.length);
      const started = performance.now();
      await log.settleAll(30_000);
      assert.ok(performance.now() - started < 5_000);
    });
  });
}
