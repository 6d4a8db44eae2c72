/** The message log contract on both implementations; NATS with the messages of other logs' topics around, and with a prefix. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { EmbeddedLog } from '../../src/embedded/log.ts';
import { makeTopic } from '../../src/message.ts';
import { openBackplane } from '../support/backplane.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { type LogUnderTest, messageLogContract } from './message-log-contract.ts';

const servers: NatsServerProcess[] = [];

before(async () => {
  for (let i = 0; i < 2; i++) servers.push(await startNatsServer());
});
after(() => Promise.all(servers.map((server) => server.stop())));

/** Each on a server of its own: a log begins empty. */
async function openNats(index: number, topicPrefix: string): Promise<LogUnderTest> {
  const backplane = await openBackplane(servers[index]?.url ?? '', { topicPrefix });
  const { bus, log } = backplane;
  assert.ok(log !== undefined);
  return { log, makeRoute: (topic) => bus.route(topic), close: () => backplane.close() };
}

messageLogContract('embedded', async () => {
  const log = new EmbeddedLog({ maximumAgeSeconds: 0, clock: systemClock });
  return { log, makeRoute: makeTopic, close: () => log.close() };
});
messageLogContract('nats', () => openNats(0, ''));
messageLogContract('nats with a prefix', () => openNats(1, 'site-7.mqtt'));
