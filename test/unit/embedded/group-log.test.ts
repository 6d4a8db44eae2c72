/** embedded/group-log.ts beyond its contract: when a group ends, and shares. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GroupMember, GroupMessage } from '../../../src/broker/ports.ts';
import { EmbeddedGroupLog } from '../../../src/embedded/group-log.ts';
import { EmbeddedLog } from '../../../src/embedded/log.ts';
import { makeTopic } from '../../../src/message.ts';
import { ManualClock } from './manual-clock.ts';

const RETENTION_SECONDS = 60;

function make(): { clock: ManualClock; log: EmbeddedLog; groups: EmbeddedGroupLog } {
  const clock = new ManualClock();
  const log = new EmbeddedLog({ maximumAgeSeconds: 0, clock });
  const groups = new EmbeddedGroupLog({ log, clock, retentionSeconds: RETENTION_SECONDS, maximumGroups: 10 });
  return { clock, log, groups };
}

function store(log: EmbeddedLog, payload: string): Promise<void> {
  return new Promise((resolve) =>
    log.publish({
      route: makeTopic('a'),
      payload: Buffer.from(payload),
      qos: 1,
      extras: undefined,
      expirySeconds: undefined,
      messageId: '',
      settled: () => resolve(),
    }),
  );
}

/** Everything that waits for nothing outside has happened. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function join(groups: EmbeddedGroupLog): { member: GroupMember; got: string[]; messages: GroupMessage[] } {
  const got: string[] = [];
  const messages: GroupMessage[] = [];
  const member = groups.join('g', 'a', (message, { payload }) => {
    messages.push(message);
    got.push(payload.toString());
  });
  return { member, got, messages };
}

test('embedded groups - what waits is kept for the configured time after the last member, and not longer', async () => {
  for (const [seconds, expected] of [
    [RETENTION_SECONDS - 1, ['0', '1']],
    [RETENTION_SECONDS + 1, ['1']],
  ] as const) {
    const { clock, groups, log } = make();
    const first = join(groups);
    await first.member.ready;
    first.member.leave();
    await store(log, '0');
    clock.pass(seconds);
    const second = join(groups);
    await second.member.ready;
    second.member.want(10);
    await store(log, '1');
    await settle();
    assert.deepEqual(second.got, expected);
    await groups.close();
    await log.close();
  }
});

test('embedded groups - a message in the hands of a member that has left keeps the group', async () => {
  const { clock, groups, log } = make();
  const first = join(groups);
  await first.member.ready;
  first.member.want(1);
  await store(log, '0');
  await settle();
  first.member.leave();
  clock.pass(RETENTION_SECONDS + 1);
  first.messages[0]?.release();
  const second = join(groups);
  second.member.want(10);
  await settle();
  assert.deepEqual(second.got, ['0']);
  await groups.close();
  await log.close();
});

test('embedded groups - members that keep up have equal shares', async () => {
  const { groups, log } = make();
  const members = [join(groups), join(groups), join(groups)];
  await members[0]?.member.ready;
  for (const { member } of members) member.want(100);
  for (let number = 0; number < 90; number++) await store(log, String(number));
  await settle();
  assert.deepEqual(
    members.map(({ got }) => got.length),
    [30, 30, 30],
  );
  await groups.close();
  await log.close();
});
