/** The log is deleted and made again while its node serves: clients are closed, come back, and get what is new. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from 'nats';
import { eventually } from '../support/eventually.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { startNode } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

test('sessions of a log that was made anew begin where the new one does, and say so in a metric', async () => {
  const nats = await startNatsServer();
  const node = await startNode({ SUPERMQ_NATS_SERVERS: nats.url });
  const fields = { version: 5 as const, clientId: 'reset', clean: false, properties: { sessionExpiryInterval: 100 } };
  const client = await RawClient.connect(node.tcp, fields);
  await client.subscribe({ topic: 'reset/#', qos: 1 } as { topic: string });
  for (let id = 1; id <= 5; id++) {
    client.publish('reset/a', `old ${id}`, { qos: 1, messageId: id });
    await client.next('puback');
    const { messageId = 0 } = await client.next('publish');
    client.send({ cmd: 'puback', messageId });
  }
  const application = await connect({ servers: nats.url });
  const { streams } = await application.jetstreamManager();
  const { config } = await streams.info('SMQ_LOG');
  await streams.delete('SMQ_LOG');
  await streams.add(config);

  await client.closed;
  const disconnect = client.received.find(({ cmd }) => cmd === 'disconnect');
  assert.equal(disconnect?.cmd === 'disconnect' && disconnect.reasonCode, 0x89);
  const back = await RawClient.connect(node.tcp, fields);
  assert.equal(back.connack.sessionPresent, true);
  back.publish('reset/a', 'new', { qos: 1, messageId: 1 });
  await back.next('puback');
  assert.equal((await back.next('publish')).payload.toString(), 'new', 'its position is below those of the old log');
  await eventually(() => node.counters.sessionsReset === 1);
  await application.close();
  await node.stop();
  await nats.stop();
});
