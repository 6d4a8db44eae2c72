/** Quotas of the cluster, on a node with NATS and on one without: retained messages and stored sessions; what is there can be changed at the limit. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startNatsCluster } from '../support/nats-cluster.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';

const QUOTAS = { SUPERMQ_NATS_RETAINED_MAX_MESSAGES: '3', SUPERMQ_NATS_SESSIONS_MAX_SESSIONS: '2' };
const QUOTA_EXCEEDED = 0x97;

interface Place {
  readonly node: TestNode;
  stop(): Promise<void>;
}

async function withNats(nats: { readonly url: string; stop(): Promise<void> }, replicas: number): Promise<Place> {
  const node = await startNode({
    ...QUOTAS,
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_NATS_REPLICAS: String(replicas),
    SUPERMQ_NATS_STORAGE: 'memory',
  });
  return { node, stop: () => node.stop().then(() => nats.stop()) };
}

const places: Readonly<Record<string, () => Promise<Place>>> = {
  embedded: async () => {
    const node = await startNode(QUOTAS);
    return { node, stop: () => node.stop() };
  },
  'one nats-server': async () => withNats(await startNatsServer(), 1),
  'three nats-servers': async () => {
    const cluster = await startNatsCluster(3);
    return withNats({ url: cluster.urls.join(','), stop: () => cluster.stop() }, 3);
  },
};

for (const [name, start] of Object.entries(places)) {
  let place: Place;
  before(async () => {
    place = await start();
  });
  after(() => place.stop());

  test(`quota, ${name} - retained messages: one more topic is 0x97, those that are there change and go`, async () => {
    const { node } = place;
    const client = await RawClient.connect(node.tcp, { version: 5 });
    const retain = (topic: string, payload: string): Promise<number> =>
      client.publishAcknowledged(topic, payload, 1, { retain: true });
    for (const topic of ['kept/1', 'kept/2', 'kept/3']) assert.equal(await retain(topic, 'old'), 0);
    assert.equal(await retain('kept/4', 'x'), QUOTA_EXCEEDED);
    assert.equal(await retain('kept/2', 'new'), 0);
    assert.equal(await retain('kept/3', ''), 0);
    assert.equal(await retain('kept/5', ''), 0, 'nothing is there to be removed');
    await client.subscribe('kept/+');
    const found = (await client.messages(2)).map(({ payload, topic }) => `${topic} ${payload}`);
    assert.deepEqual(found.sort(), ['kept/1 old', 'kept/2 new']);
    assert.equal(node.counters.retainedRefused, 1);
    await client.end();
  });

  test(`quota, ${name} - sessions: one more is refused with 0x97 (3.x: 3), those that are there go on`, async () => {
    const { node } = place;
    const connect = (fields: ConnectFields): ReturnType<typeof RawClient.connect> =>
      RawClient.connect(node.tcp, fields);
    const durable = { version: 5, clean: false, properties: { sessionExpiryInterval: 300 } } as const;
    const kept = await connect({ ...durable, clientId: 'kept-1' });
    await connect({ version: 4, clean: false, clientId: 'kept-2' });
    const refused = await connect({ ...durable, clientId: 'refused' });
    assert.equal(refused.connack.reasonCode, QUOTA_EXCEEDED);
    assert.equal((await connect({ version: 4, clean: false, clientId: 'refused' })).connack.returnCode, 3);
    assert.equal(node.counters.sessionsRefused, 2);
    assert.equal((await connect({ version: 5, clientId: 'brief' })).connack.reasonCode, 0, 'a clean one is not stored');
    assert.deepEqual(await kept.subscribe({ topic: 'a', qos: 1 }), [1]);
    await kept.abort();
    const again = await connect({ ...durable, clientId: 'kept-1' });
    assert.deepEqual([again.connack.reasonCode, again.connack.sessionPresent], [0, true]);
  });
}
