/** The group log contract on both implementations; NATS with a prefix too. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { EmbeddedGroupLog } from '../../src/embedded/group-log.ts';
import { EmbeddedLog } from '../../src/embedded/log.ts';
import { makeTopic } from '../../src/message.ts';
import { openBackplane } from '../support/backplane.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { type GroupsUnderTest, groupLogContract } from './group-log-contract.ts';

const maximumGroups = 5;
let server: NatsServerProcess;

before(async () => {
  server = await startNatsServer();
});
after(() => server.stop());

async function openNats(topicPrefix: string): Promise<GroupsUnderTest> {
  const { bus, close, groups, log } = await openBackplane(server.url, { topicPrefix, maximumGroups });
  assert.ok(log !== undefined && groups !== undefined);
  return { log, groups, maximumGroups, makeRoute: (topic) => bus.route(topic), close };
}

groupLogContract('embedded', async () => {
  const log = new EmbeddedLog({ maximumAgeSeconds: 0, clock: systemClock });
  const groups = new EmbeddedGroupLog({ log, clock: systemClock, retentionSeconds: 60, maximumGroups });
  const close = async (): Promise<void> => void (await Promise.all([groups.close(), log.close()]));
  return { log, groups, maximumGroups, makeRoute: makeTopic, close };
});
groupLogContract('nats', () => openNats(''));
groupLogContract('nats with a prefix', () => openNats('site-7.mqtt'));
