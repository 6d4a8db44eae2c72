/**
 * What every GroupLog owes, run against embedded/ and nats/: the same assertions, so that neither can drift from the other. Each test has
 * topics of its own, so that one log serves all.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { GroupLog, GroupMember, GroupMessage, LogRecord, MessageLog, Route } from '../../src/broker/ports.ts';
import { eventually } from '../support/eventually.ts';

/** One log with its groups: at most two of them at a time beside those of a test. */
export interface GroupsUnderTest {
  readonly log: MessageLog;
  readonly groups: GroupLog;
  /** Groups that this node serves at most. */
  readonly maximumGroups: number;
  makeRoute(topic: string): Route | undefined;
  close(): Promise<void>;
}

const TIMEOUT_MILLISECONDS = 60_000;
const nothing = Buffer.alloc(0);

/** A member that keeps what it is given. */
class TestMember {
  readonly got: GroupMessage[] = [];
  readonly records: LogRecord[] = [];
  /** Called with each message. */
  taken: (message: GroupMessage) => void = () => {};
  readonly member: GroupMember;

  constructor(groups: GroupLog, group: string, filter: string) {
    this.member = groups.join(group, filter, (message, record) => {
      this.got.push(message);
      this.records.push(record);
      this.taken(message);
    });
  }

  get payloads(): string[] {
    return this.records.map(({ payload }) => payload.toString());
  }
}

/** Runs the suite; `open` is called once. */
export function groupLogContract(name: string, open: () => Promise<GroupsUnderTest>): void {
  describe(`group log contract on ${name}`, { timeout: TIMEOUT_MILLISECONDS }, () => {
    let under: GroupsUnderTest;
    before(async () => {
      under = await open();
    });
    after(() => under.close());

    const publish = (topic: string, payload: string, qos: 1 | 2 = 1, properties = nothing): Promise<number> => {
      const route = under.makeRoute(topic);
      assert.ok(route !== undefined);
      const expirySeconds = properties[0] === 2 ? properties.readUInt32BE(1) : undefined;
      return new Promise((resolve, reject) =>
        under.log.publish({
          route,
          payload: Buffer.from(payload),
          qos,
          extras: { properties, retain: true, origin: 'someone' },
          expirySeconds,
          messageId: '',
          settled: (outcome, sequence) => (outcome === 'stored' ? resolve(sequence) : reject(new Error(outcome))),
        }),
      );
    };
    const join = async (group: string, filter: string): Promise<TestMember> => {
      const made = new TestMember(under.groups, group, filter);
      await made.member.ready;
      return made;
    };
    const publishAll = async (topic: string, from: number, to: number): Promise<void> => {
      for (let number = from; number < to; number++) await publish(topic, String(number));
    };
    const numbers = (from: number, to: number): string[] =>
      Array.from({ length: to - from }, (_, index) => String(from + index)).sort();

    test('what is stored from `ready` on reaches one member, with all that belongs to it', async () => {
      await publish('whole/a', 'before');
      const member = await join('g', 'whole/#');
      member.member.want(10);
      const properties = Buffer.from([2, 0, 0, 0, 60, 0x26, 0, 1, 0x61, 0, 1, 0x62]);
      const earliest = under.log.now() - 2_000;
      const sequence = await publish('whole/a', 'x', 2, properties);
      await publish('whole', 'parent');
      await publish('other', 'no');
      await eventually(() => member.got.length === 2);
      const [record, second] = member.records;
      assert.ok(record !== undefined);
      assert.equal(record.sequence, sequence);
      assert.equal(record.topic.name, 'whole/a');
      assert.equal(record.qos, 2);
      assert.deepEqual(record.extras, { properties, retain: true, origin: 'someone' });
      assert.equal(record.expirySeconds, 60);
      assert.ok(record.storedAt >= earliest && record.storedAt <= under.log.now() + 2_000);
      assert.equal(member.got[0]?.isRepeated, false);
      assert.equal(second?.topic.name, 'whole');
      for (const message of member.got) message.acknowledge();
      member.member.leave();
    });

    test('members get no more than they want, in turn, and all of it together', async () => {
      const [a, b] = [await join('turn', 'turn/+'), await join('turn', 'turn/+')];
      a.member.want(3);
      b.member.want(5);
      await publishAll('turn/x', 0, 20);
      await eventually(() => a.got.length === 3 && b.got.length === 5);
      a.taken = b.taken = (message) => message.acknowledge();
      for (const message of [...a.got, ...b.got]) message.acknowledge();
      a.member.want(100);
      b.member.want(100);
      await eventually(() => a.got.length + b.got.length === 20);
      assert.deepEqual([...a.payloads, ...b.payloads].sort(), numbers(0, 20));
      for (const { member } of [a, b]) member.leave();
    });

    test('groups are independent: another name, another filter', async () => {
      const members = [await join('one', 'ind/+'), await join('two', 'ind/+'), await join('one', 'ind/x')];
      for (const { member } of members) member.want(10);
      await publish('ind/x', 'm');
      await eventually(() => members.every(({ got }) => got.length === 1));
      for (const { got, member } of members) {
        for (const message of got) message.acknowledge();
        member.leave();
      }
    });

    test('a released message goes to another member at once, and says that it was given out before', async () => {
      const [a, b] = [await join('back', 'back'), await join('back', 'back')];
      a.member.want(2);
      await publishAll('back', 0, 2);
      await eventually(() => a.got.length === 2);
      b.member.want(10);
      for (const message of a.got) message.release();
      a.got[0]?.release();
      a.got[1]?.acknowledge();
      await eventually(() => b.got.length === 2);
      assert.deepEqual(b.payloads.sort(), ['0', '1']);
      assert.ok(b.got.every(({ isRepeated }) => isRepeated));
      for (const message of b.got) message.acknowledge();
      for (const { member } of [a, b]) member.leave();
    });

    test('a member that leaves keeps what it holds and gets nothing more', async () => {
      const [a, b] = [await join('leave', 'leave'), await join('leave', 'leave')];
      a.member.want(10);
      await publish('leave', '0');
      await eventually(() => a.got.length === 1);
      a.member.leave();
      a.member.want(10);
      b.member.want(10);
      await publishAll('leave', 1, 10);
      await eventually(() => b.got.length === 9);
      await a.got[0]?.confirm();
      assert.equal(a.got.length, 1);
      assert.deepEqual(b.payloads.sort(), numbers(1, 10));
      for (const message of b.got) message.acknowledge();
      b.member.leave();
    });

    test('what is stored while a group has no member waits for the next one', async () => {
      const first = await join('wait', 'wait/+');
      first.member.leave();
      await publishAll('wait/x', 0, 100);
      const second = await join('wait', 'wait/+');
      second.taken = (message) => {
        message.acknowledge();
        second.member.want(20);
      };
      second.member.want(20);
      await eventually(() => second.got.length === 100);
      assert.deepEqual(second.payloads.sort(), numbers(0, 100));
      second.member.leave();
    });

    test('confirm and a token acknowledge for good', async () => {
      const [a, b] = [await join('sure', 'sure'), await join('sure', 'sure')];
      a.member.want(3);
      await publishAll('sure', 0, 3);
      await eventually(() => a.got.length === 3);
      await a.got[0]?.confirm();
      await under.groups.acknowledge(a.got[1]?.token ?? '');
      a.got[1]?.acknowledge();
      a.got[0]?.release();
      a.got[2]?.release();
      b.member.want(10);
      await eventually(() => b.got.length === 1);
      assert.deepEqual(b.payloads, ['2']);
      b.got[0]?.acknowledge();
      for (const { member } of [a, b]) member.leave();
    });

    test('lag: what waits and what is in the hands of members', async () => {
      const member = await join('lag', 'lag/+');
      member.member.want(2);
      await publishAll('lag/x', 0, 5);
      await eventually(() => member.got.length === 2);
      await eventually(async () => {
        const lag = (await under.groups.lags()).find(({ group }) => group === 'lag');
        return lag?.filter === 'lag/+' && lag.pending === 3 && lag.unacknowledged === 2;
      });
      for (const message of member.got) message.acknowledge();
      member.member.leave();
    });

    test('a node serves a bounded number of groups', async () => {
      await eventually(() => under.groups.count === 0);
      const members: TestMember[] = [];
      for (let index = 0; index < under.maximumGroups; index++) {
        assert.equal(under.groups.accepts('many', `many/${index}`), true);
        members.push(await join('many', `many/${index}`));
      }
      assert.equal(under.groups.count, under.maximumGroups);
      assert.equal(under.groups.accepts('many', 'many/new'), false);
      assert.equal(under.groups.accepts('many', 'many/0'), true);
      for (const { member } of members) member.leave();
      await eventually(() => under.groups.count === 0);
      assert.equal(under.groups.accepts('many', 'many/new'), true);
    });
  });
}
