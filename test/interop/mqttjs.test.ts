/** MQTT.js, the client most Node and browser users have, over TCP and WebSocket, versions 3.1, 3.1.1 and 5. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { connectAsync, type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';

let nats: NatsServerProcess;
let edges: [EdgeProcess, EdgeProcess];

before(async () => {
  nats = await startNatsServer();
  const env = { SUPERMQ_NATS_SERVERS: nats.url };
  edges = [await EdgeProcess.start(env), await EdgeProcess.start(env)];
});
after(async () => {
  await Promise.all(edges.map((edge) => edge.stop()));
  await nats.stop();
});

const kinds: Array<[name: string, options: IClientOptions]> = [
  ['MQTT 3.1', { protocolVersion: 3, protocolId: 'MQIsdp' }],
  ['MQTT 3.1.1', { protocolVersion: 4 }],
  ['MQTT 5', { protocolVersion: 5 }],
];

function connect(index: 0 | 1, scheme: 'mqtt' | 'ws', options: IClientOptions): Promise<MqttClient> {
  const edge = edges[index];
  const url = scheme === 'mqtt' ? `mqtt://127.0.0.1:${edge.tcp}` : `ws://127.0.0.1:${edge.ws}/mqtt`;
  const clientId = `js-${Math.random().toString(36).slice(2)}`;
  return connectAsync(url, { clientId, reconnectPeriod: 0, ...options });
}

/** The next `count` messages of a client. */
function messages(client: MqttClient, count: number): Promise<string[]> {
  return new Promise((resolve) => {
    const seen: string[] = [];
    client.on('message', (topic, payload) => {
      seen.push(`${topic}=${payload.toString()}`);
      if (seen.length === count) resolve(seen);
    });
  });
}

for (const [name, options] of kinds) {
  for (const scheme of ['mqtt', 'ws'] as const) {
    test(`${name} over ${scheme}: subscribe on one node, publish on the other, unsubscribe, end`, async () => {
      const subscriber = await connect(0, scheme, options);
      const publisher = await connect(1, scheme, options);
      const topic = `js/${name}/${scheme}`;
      const [granted] = await subscriber.subscribeAsync(`${topic}/#`, { qos: 1 });
      assert.equal(granted?.qos, 1);
      const arrived = messages(subscriber, 200);
      for (let n = 0; n < 200; n++) await publisher.publishAsync(`${topic}/${n % 3}`, String(n), { qos: 1 });
      assert.deepEqual(
        await arrived,
        Array.from({ length: 200 }, (_, n) => `${topic}/${n % 3}=${n}`),
      );
      await subscriber.unsubscribeAsync(`${topic}/#`);
      await Promise.all([subscriber.endAsync(), publisher.endAsync()]);
    });
  }
}

test('MQTT 5: properties and topic aliases of MQTT.js arrive on another node', async () => {
  const subscriber = await connect(0, 'mqtt', { protocolVersion: 5 });
  const publisher = await connect(1, 'mqtt', {
    protocolVersion: 5,
    autoAssignTopicAlias: true,
    properties: { topicAliasMaximum: 16 },
  });
  await subscriber.subscribeAsync('js/props', { qos: 0, properties: { subscriptionIdentifier: 77 } });
  for (const round of [1, 2]) {
    const next = once(subscriber as unknown as NodeJS.EventEmitter, 'message');
    await publisher.publishAsync('js/props', 'x', {
      properties: {
        contentType: 'a/b',
        responseTopic: 'reply',
        correlationData: Buffer.from([1, 0, 2]),
        userProperties: { k: ['1', '2'] },
      },
    });
    const [topic, , packet] = (await next) as [string, Buffer, IPublishPacket];
    assert.equal(topic, 'js/props', `round ${round}`);
    assert.equal(packet.properties?.contentType, 'a/b');
    assert.equal(packet.properties?.subscriptionIdentifier, 77);
    assert.deepEqual(packet.properties?.correlationData, Buffer.from([1, 0, 2]));
    assert.deepEqual({ ...packet.properties?.userProperties }, { k: ['1', '2'] });
  }
  await Promise.all([subscriber.endAsync(), publisher.endAsync()]);
});

test('[MQTT5 3.1.2-26] [MQTT5 3.3.2-11] MQTT.js gets topic aliases when it asks for them, more topics than aliases, retained ones too', async () => {
  const publisher = await connect(1, 'mqtt', { protocolVersion: 5 });
  await publisher.publishAsync('js/alias/kept', 'kept', { qos: 1, retain: true });
  const subscriber = await connect(0, 'ws', { protocolVersion: 5, properties: { topicAliasMaximum: 4 } });
  const aliases: number[] = [];
  let saved = 0;
  subscriber.on('packetreceive', (packet) => {
    if (packet.cmd !== 'publish') return;
    aliases.push(packet.properties?.topicAlias ?? 0);
    if (packet.topic === '') saved++;
  });
  const arrived = messages(subscriber, 121);
  await subscriber.subscribeAsync('js/alias/#', { qos: 2 });
  const expected = ['js/alias/kept=kept'];
  for (let n = 0; n < 120; n++) {
    // Three topics in turn, and now and then another of six.
    const topic = n % 8 === 7 ? `js/alias/rare-${n % 6}` : `js/alias/often-${n % 3}`;
    expected.push(`${topic}=${n}`);
    // Not QoS 2: MQTT.js 5.16 shows such a message with the topic of the packet, which is empty.
    await publisher.publishAsync(topic, String(n), { qos: n % 2 === 0 ? 1 : 0 });
  }
  assert.deepEqual((await arrived).sort(), expected.sort());
  assert.ok(
    aliases.every((alias) => alias >= 1 && alias <= 4),
    String(aliases),
  );
  assert.ok(saved >= 90, `${saved} messages without a topic`);
  await publisher.publishAsync('js/alias/kept', '', { qos: 1, retain: true });
  await Promise.all([subscriber.endAsync(), publisher.endAsync()]);
});

test('MQTT 5: Maximum QoS keeps MQTT.js from publishing above it, and groups work with it', async () => {
  const members = [await connect(0, 'mqtt', { protocolVersion: 5 }), await connect(1, 'ws', { protocolVersion: 4 })];
  const counts = [0, 0];
  for (const [i, member] of members.entries()) {
    member.on('message', () => {
      counts[i] = (counts[i] ?? 0) + 1;
    });
    await member.subscribeAsync('$share/js/js/group');
  }
  const publisher = await connect(1, 'mqtt', { protocolVersion: 5 });
  for (let n = 0; n < 200; n++) await publisher.publishAsync('js/group', String(n));
  while ((counts[0] ?? 0) + (counts[1] ?? 0) < 200)
    await Promise.race(members.map((member) => once(member as unknown as NodeJS.EventEmitter, 'message')));
  assert.ok(
    counts.every((count) => count >= 50),
    `${counts} of 200`,
  );
  await Promise.all([...members, publisher].map((client) => client.endAsync()));
});
