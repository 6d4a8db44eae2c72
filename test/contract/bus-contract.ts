/** What every Bus owes, run against embedded/ and nats/: the same assertions, so that neither can drift from the other. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Bus, BusDeliver } from '../../src/broker/ports.ts';
import type { Counters } from '../../src/counters.ts';
import type { Extras } from '../../src/message.ts';

/** One bus, and the way to know that all that was published has been delivered. */
export interface BusUnderTest {
  readonly bus: Bus;
  readonly counters: Counters;
  close(): Promise<void>;
}

interface Seen {
  readonly topic: string;
  readonly payload: string;
  readonly extras: Extras | undefined;
}

const properties = Buffer.from([0x26, 0, 1, 0x61, 0, 1, 0x62, 0x26, 0, 1, 0x61, 0, 1, 0x62]);

export function busContract(name: string, open: () => Promise<BusUnderTest>): void {
  describe(`bus contract on ${name}`, () => {
    let under: BusUnderTest;
    before(async () => {
      under = await open();
    });
    after(() => under.close());

    const collect = (into: Seen[]): BusDeliver => {
      return (topic, payload, extras) =>
        into.push({ topic: topic.name, payload: Buffer.from(payload).toString(), extras: extras && { ...extras } });
    };

    const publish = (topic: string, payload: string, extras?: Extras): void => {
      const route = under.bus.route(topic);
      assert.ok(route !== undefined, `${topic} has a route`);
      under.bus.publish(route, Buffer.from(payload), extras);
    };

    /** Round trips until `seen` holds a marker that was published last: everything before it has come, order being kept. */
    const settle = async (): Promise<void> => {
      const marker: Seen[] = [];
      const end = under.bus.subscribe('contract/marker', collect(marker)).end;
      await under.bus.confirm();
      publish('contract/marker', '');
      while (marker.length === 0) await under.bus.confirm();
      await under.bus.confirm();
      end();
    };

    test('delivers topic and payload as published, in order', async () => {
      const seen: Seen[] = [];
      const end = under.bus.subscribe('order/+', collect(seen)).end;
      await under.bus.confirm();
      for (let i = 0; i < 500; i++) publish('order/a', String(i));
      await settle();
      end();
      assert.deepEqual(
        seen.map(({ payload }) => payload),
        Array.from({ length: 500 }, (_, i) => String(i)),
      );
      assert.ok(seen.every(({ topic }) => topic === 'order/a'));
    });

    test('[MQTT5 4.7.1-1] `a/#` matches `a` and everything below, once each', async () => {
      const seen: Seen[] = [];
      const end = under.bus.subscribe('parent/#', collect(seen)).end;
      await under.bus.confirm();
      for (const topic of ['parent', 'parent/', 'parent/a', 'parent/a/b', 'parents', 'other']) publish(topic, topic);
      await settle();
      end();
      assert.deepEqual(
        seen.map(({ topic }) => topic),
        ['parent', 'parent/', 'parent/a', 'parent/a/b'],
      );
    });

    test('carries every legal topic unchanged: empty levels, dots, spaces, wildcards of NATS, UTF-8', async () => {
      const topics = [
        '/',
        '//',
        '/a',
        'a/',
        'a//b',
        'a.b',
        '.',
        'a b',
        '*',
        '>',
        'a/*/b>',
        'Ä/日本/😀',
        '\u0001/\u007f',
        '\ufeffx',
        'a\tb\r\nc',
      ];
      const seen: Seen[] = [];
      const ends = topics.map((topic) => under.bus.subscribe(topic, collect(seen)).end);
      await under.bus.confirm();
      for (const topic of topics) publish(topic, topic);
      await settle();
      for (const end of ends) end();
      assert.deepEqual(
        seen.map(({ topic }) => topic),
        topics,
      );
      assert.deepEqual(
        seen.map(({ payload }) => payload),
        topics,
      );
    });

    test('[MQTT5 1.5.4-3] [MQTT311 1.5.3-3] a leading U+FEFF reaches wildcard subscribers, and is no other topic', async () => {
      const [all, own]: [Seen[], Seen[]] = [[], []];
      const ends = [
        under.bus.subscribe('+/mark', collect(all)).end,
        under.bus.subscribe('\ufeffa/+', collect(own)).end,
      ];
      await under.bus.confirm();
      for (const topic of ['a/mark', '\ufeffa/mark', '\ufeff\ufeffa/mark', 'a/mark']) publish(topic, '');
      publish('\ufeffa/mark', 'extras', { properties, retain: false, origin: '' });
      await settle();
      for (const end of ends) end();
      const expected = ['a/mark', '\ufeffa/mark', '\ufeff\ufeffa/mark', 'a/mark', '\ufeffa/mark'];
      assert.deepEqual(
        all.map(({ topic }) => topic),
        expected,
      );
      assert.deepEqual(
        own.map(({ topic }) => topic),
        ['\ufeffa/mark', '\ufeffa/mark'],
      );
    });

    test('carries properties, retain flag and origin; their absence is undefined', async () => {
      const seen: Seen[] = [];
      const end = under.bus.subscribe('extras', collect(seen)).end;
      await under.bus.confirm();
      publish('extras', 'none');
      publish('extras', 'all', { properties, retain: true, origin: 'origin-1' });
      publish('extras', 'retain', { properties: Buffer.alloc(0), retain: true, origin: '' });
      await settle();
      end();
      assert.equal(seen[0]?.extras, undefined);
      assert.deepEqual(seen[1]?.extras, { properties, retain: true, origin: 'origin-1' });
      assert.equal(seen[2]?.extras?.retain, true);
      assert.equal(seen[2]?.extras?.properties.length, 0);
    });

    test('asking again for what is not refused changes nothing, and brings nothing back that has ended', async () => {
      const seen: Seen[] = [];
      const subscription = under.bus.subscribe('again/#', collect(seen));
      subscription.askAgain();
      await under.bus.confirm();
      publish('again/a', '1');
      await settle();
      subscription.end();
      subscription.askAgain();
      await under.bus.confirm();
      publish('again/a', '2');
      await settle();
      assert.deepEqual(
        seen.map(({ payload }) => payload),
        ['1'],
      );
    });

    test('delivers nothing after unsubscribe, and a second call does no harm', async () => {
      const seen: Seen[] = [];
      const other: Seen[] = [];
      const end = under.bus.subscribe('gone', collect(seen)).end;
      const endOther = under.bus.subscribe('gone', collect(other)).end;
      await under.bus.confirm();
      publish('gone', '1');
      await settle();
      end();
      end();
      publish('gone', '2');
      await settle();
      endOther();
      assert.deepEqual(
        seen.map(({ payload }) => payload),
        ['1'],
      );
      assert.deepEqual(
        other.map(({ payload }) => payload),
        ['1', '2'],
      );
    });

    test('a group shares messages: each to one member, groups and plain subscriptions apart', async () => {
      const members = [[], [], []] as Seen[][];
      const others: Seen[] = [];
      const plain: Seen[] = [];
      const ends = members.map((seen) => under.bus.subscribeGroup('g*+1', 'work/#', collect(seen)));
      ends.push(
        under.bus.subscribeGroup('other', 'work/#', collect(others)),
        under.bus.subscribe('work/#', collect(plain)).end,
      );
      await under.bus.confirm();
      for (let i = 0; i < 600; i++) publish(`work/${i % 7}`, String(i));
      await settle();
      for (const end of ends) end();
      const shared = members.flat().map(({ payload }) => Number(payload));
      assert.deepEqual(
        shared.sort((a, b) => a - b),
        Array.from({ length: 600 }, (_, i) => i),
      );
      assert.equal(others.length, 600);
      assert.equal(plain.length, 600);
      for (const seen of members) assert.ok(seen.length > 100, `a member got ${seen.length} of 600`);
    });

    test('a group whose last member has left ends; a new member starts it again', async () => {
      const first: Seen[] = [];
      const second: Seen[] = [];
      const leave = under.bus.subscribeGroup('again', 'again', collect(first));
      await under.bus.confirm();
      leave();
      publish('again', 'nobody');
      const leaveSecond = under.bus.subscribeGroup('again', 'again', collect(second));
      await under.bus.confirm();
      publish('again', 'somebody');
      await settle();
      leaveSecond();
      assert.deepEqual(first, []);
      assert.deepEqual(
        second.map(({ payload }) => payload),
        ['somebody'],
      );
    });

    test('refuses topics and filters that are too long or too deep, and stays usable', async () => {
      assert.equal(under.bus.route('x'.repeat(65_535)), undefined);
      assert.equal(under.bus.route('a/'.repeat(2_000)), undefined);
      assert.equal(under.bus.carries('y'.repeat(65_535)), false);
      assert.equal(under.bus.carries(`${'a/'.repeat(2_000)}#`), false);
      assert.ok(under.bus.isConnected);
      await under.bus.confirm();
    });

    test('drops and counts a message above the largest payload, and stays usable', async () => {
      const { dropped } = under.counters;
      const before = dropped.tooLargeForBus;
      const route = under.bus.route('large');
      assert.ok(route !== undefined);
      under.bus.publish(route, Buffer.alloc(under.bus.maximumPacketSize() * 2), undefined);
      assert.equal(dropped.tooLargeForBus, before + 1);
      await under.bus.confirm();
    });
  });
}
