/** Two and three edge processes over one nats-server: what is published on one node arrives on the others. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectNats, type NatsConnection } from 'nats';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

/** nats-server's default max_payload, and what the server keeps of it for itself. */
const MAX_PAYLOAD = 1024 * 1024;

let nats: NatsServerProcess;
let edges: EdgeProcess[];
let application: NatsConnection;

before(async () => {
  nats = await startNatsServer({ jetstream: true });
  const env = { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LIMITS_MAX_PACKET_BYTES: String(2 * MAX_PAYLOAD) };
  edges = await Promise.all([1, 2, 3].map(() => EdgeProcess.start(env)));
  application = await connectNats({ servers: nats.url });
});
after(async () => {
  await application.close();
  await Promise.all(edges.map((edge) => edge.stop()));
  await nats.stop();
});

function edge(index: number): EdgeProcess {
  const found = edges[index];
  assert.ok(found !== undefined);
  return found;
}

/** A filter that clients of all nodes see once the interest of the subscriber has reached every server. */
async function untilReached(publisher: RawClient, subscriber: RawClient, topic: string): Promise<void> {
  await eventually(async () => {
    publisher.publish(topic, 'probe');
    await publisher.ping();
    await subscriber.ping();
    return subscriber.received.some((packet) => packet.cmd === 'publish');
  });
  subscriber.received.length = 0;
}

test('[MQTT5 4.6.0-5] messages of every node arrive on every node, in order per topic and publisher, v3 and v5 mixed', async () => {
  const versions = [3, 4, 5] as const;
  const subscribers = await Promise.all(versions.map((version, i) => RawClient.connect(edge(i).tcp, { version })));
  for (const subscriber of subscribers) await subscriber.subscribe('mesh/#');
  const publishers = await Promise.all(
    versions.map((version, i) => RawClient.connect(edge((i + 1) % 3).tcp, { version })),
  );
  for (let n = 0; n < 1_000; n++) {
    for (const [p, publisher] of publishers.entries()) publisher.publish(`mesh/${p}/${n % 3}`, String(n));
  }
  for (const subscriber of subscribers) {
    const byTopic = new Map<string, number[]>();
    for (const { topic, payload } of await subscriber.messages(3_000))
      byTopic.set(topic, [...(byTopic.get(topic) ?? []), Number(payload)]);
    assert.equal(byTopic.size, 9);
    for (const [topic, numbers] of byTopic) {
      const first = Number(topic.slice(-1));
      assert.deepEqual(
        numbers,
        Array.from({ length: numbers.length }, (_, i) => first + 3 * i),
        topic,
      );
    }
  }
  await Promise.all([...subscribers, ...publishers].map((client) => client.end()));
});

test('payloads from nothing to the limit of NATS arrive whole on another node', async () => {
  const subscriber = await RawClient.connect(edge(0).tcp, { version: 5 });
  const publisher = await RawClient.connect(edge(1).tcp, { version: 5 });
  const limit = publisher.connack.properties?.maximumPacketSize ?? 0;
  assert.ok(limit > MAX_PAYLOAD - 2_048 && limit <= MAX_PAYLOAD, `Maximum Packet Size ${limit}`);
  await subscriber.subscribe('size');
  const largest = limit - (1 + 4 + 2 + 4 + 1);
  for (const size of [0, 1, 2, 127, 128, 16_383, 16_384, 65_536, 262_144, largest]) {
    const payload = Buffer.alloc(size, size % 251);
    publisher.publish('size', payload);
    const message = await subscriber.next('publish');
    assert.ok(Buffer.from(message.payload as Buffer).equals(payload), `${size} bytes`);
  }
  publisher.send(Buffer.concat([Buffer.from([0x30, 0xff, 0xff, 0x7f, 0, 4]), Buffer.from('size')]));
  await publisher.closed;
  assert.equal(publisher.received[0]?.cmd === 'disconnect' && publisher.received[0].reasonCode, 0x95);
  await subscriber.end();
});

test('MQTT 5 properties cross nodes unaltered, and No Local holds', async () => {
  const own = await RawClient.connect(edge(0).tcp, { version: 5 });
  const other = await RawClient.connect(edge(1).tcp, { version: 5 });
  await own.subscribe({ topic: 'props/+', nl: true });
  await other.subscribe('props/+');
  const properties = {
    payloadFormatIndicator: true,
    messageExpiryInterval: 100,
    contentType: 'text/plain; charset=utf-8',
    responseTopic: 'réponse/à',
    correlationData: Buffer.from([0, 13, 10, 255]),
    userProperties: { z: ['1', '2'], a: 'line\r\nbreak', 'Nats-Msg-Id': 'no header' },
  };
  own.publish('props/a', 'x', { properties });
  const message = await other.next('publish');
  assert.deepEqual({ ...message.properties, userProperties: { ...message.properties?.userProperties } }, properties);
  other.publish('props/b', 'from the other');
  assert.deepEqual(await own.messages(1), [{ topic: 'props/b', payload: 'from the other' }]);
  assert.deepEqual(own.received, []);
  await Promise.all([own.end(), other.end()]);
});

test('one NATS subscription per distinct filter of a node, however many clients share it', async () => {
  const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(edge(2).tcp)));
  for (const client of clients) await client.subscribe('shared/filter', 'shared/other');
  assert.equal(await edge(2).metric('supermq_interests'), 2);
  assert.equal(await edge(2).metric('supermq_subscriptions'), 40);
  const before = await edge(2).metric('supermq_bus_received_total');
  const publisher = await RawClient.connect(edge(0).tcp);
  for (let n = 0; n < 100; n++) publisher.publish('shared/filter', String(n));
  for (const client of clients) assert.equal((await client.messages(100)).length, 100);
  assert.equal((await edge(2).metric('supermq_bus_received_total')) - before, 100);
  await Promise.all([...clients, publisher].map((client) => client.end()));
  await eventually(async () => (await edge(2).metric('supermq_interests')) === 0);
});

test('a NATS application hears mapped subjects and its plain messages reach devices', async () => {
  const device = await RawClient.connect(edge(0).tcp, { version: 5 });
  await device.subscribe('site/+/temp', 'odd//names/#');
  const heard: Array<[string, string]> = [];
  application.subscribe('site.>', { callback: (_error, message) => heard.push([message.subject, message.string()]) });
  await application.flush();
  device.publish('site/7/temp', '21.5');
  device.publish('site/a.b/temp', 'dot');
  await device.messages(2);
  await eventually(() => heard.length === 2);
  assert.deepEqual(heard, [
    ['site.7.temp', '21.5'],
    ['site.a//b.temp', 'dot'],
  ]);
  application.publish('site.9.temp', 'from NATS');
  application.publish('odd./.names.x/20y', 'spaces');
  application.publish('odd.not/a/topic', 'never');
  application.publish('odd./.names', 'parent');
  assert.deepEqual(await device.messages(3), [
    { topic: 'site/9/temp', payload: 'from NATS' },
    { topic: 'odd//names/x y', payload: 'spaces' },
    { topic: 'odd//names', payload: 'parent' },
  ]);
  await device.end();
});

test('`#` shows no subject of NATS itself while JetStream and KV are in use beside it', async () => {
  const watcher = await RawClient.connect(edge(0).tcp);
  const levels = await RawClient.connect(edge(1).tcp);
  const grouped = await RawClient.connect(edge(2).tcp);
  await watcher.subscribe('#');
  await levels.subscribe('+', '+/+', '+/+/#');
  await grouped.subscribe('$share/all/#');
  const js = application.jetstream();
  const kv = await js.views.kv('wall-test');
  for (let i = 0; i < 50; i++) await kv.put(`key.${i % 5}`, `secret ${i}`);
  const manager = await application.jetstreamManager();
  await manager.streams.add({ name: 'WALL', subjects: ['wall.>'] });
  await js.publish('wall.a', 'visible');
  assert.equal(await (await kv.get('key.1'))?.string(), 'secret 46');
  application.publish('_INBOX.somebody', 'reply');
  application.publish('$private.x', 'hidden');
  application.publish('plain.last', 'last');
  const seen = async (client: RawClient): Promise<string[]> => {
    const topics: string[] = [];
    while (topics.at(-1) !== 'plain/last') topics.push((await client.next('publish')).topic);
    return topics;
  };
  assert.deepEqual(await seen(watcher), ['wall/a', 'plain/last']);
  assert.deepEqual(await seen(levels), ['wall/a', 'plain/last']);
  assert.deepEqual(await seen(grouped), ['wall/a', 'plain/last']);
  await manager.streams.delete('WALL');
  await kv.destroy();
  await Promise.all([watcher.end(), levels.end(), grouped.end()]);
});

test('[MQTT5 §4.7.2] [MQTT5 4.7.2-1] [MQTT311 4.7.2-1] [X] topics that start with $ reach filters that name their first level, in groups too, and none that begins with a wildcard', async () => {
  const TOPIC = '$SYS/monitor/load';
  const matching = ['$SYS/#', '$SYS/monitor/+', '$SYS/+/load', TOPIC, '$share/named/$SYS/#', '$g/other/$SYS/+/+'];
  const others = ['#', '+/monitor/load', '+/#', '+/+/+', '$SYS/+', '$share/wild/#', '$share/wilder/+/monitor/+'];
  const filters = [...matching, ...others];
  const subscribe = async (): Promise<RawClient[]> => {
    const clients = await Promise.all(
      filters.map((_, index) => RawClient.connect(edge(index % 3).tcp, { version: index % 2 === 0 ? 5 : 4 })),
    );
    for (const [index, client] of clients.entries())
      assert.deepEqual(await client.subscribe(filters[index] ?? '', 'last/of/them'), [0, 0]);
    return clients;
  };
  const next = async (client: RawClient): Promise<string> => (await client.next('publish')).topic;
  const live = await subscribe();
  application.publish('$SYS.monitor.load', '0.5');
  for (const [index, filter] of matching.entries()) {
    const [client] = live.slice(index);
    assert.equal(client && (await next(client)), TOPIC, filter);
  }
  application.publish('last.of.them', 'x');
  for (const [index, client] of live.entries()) assert.equal(await next(client), 'last/of/them', filters[index]);
  // What an application retains there is behind the walls: it reaches nobody.
  const subjects = ['$SMQ.retained.$SYS.monitor.load', '$SMQ.retained.last.of.them'];
  for (const subject of subjects) await application.jetstream().publish(subject, 'kept');
  const later = await subscribe();
  for (const [index, client] of later.entries()) assert.equal(await next(client), 'last/of/them', filters[index]);
  for (const subject of subjects) await application.jetstream().publish(subject, '');
  await Promise.all([...live, ...later].map((client) => client.end()));
});

test('hostile topics and filters never harm the NATS connection of the node', async () => {
  const reconnects = await edge(0).metric('supermq_bus_reconnects_total');
  const bystander = await RawClient.connect(edge(0).tcp);
  await bystander.subscribe('bystander');
  const attempts = [
    'x'.repeat(65_535),
    'a/'.repeat(30_000),
    ' '.repeat(3_000),
    '*'.repeat(2_000),
    '日'.repeat(21_000),
    `${'\r\n'.repeat(400)}PUB bystander 4\r\nevil\r\n`,
  ];
  for (const topic of attempts) {
    const client = await RawClient.connect(edge(0).tcp, { version: 5 });
    client.publish(topic, 'x');
    const codes = client.isClosed ? [] : await client.subscribe(topic, `${topic}/#`).catch(() => []);
    for (const code of codes) assert.ok(code === 0 || code === 0x97 || code === 0x8f, `code ${code}`);
    client.socket.destroy();
  }
  const round = await RawClient.connect(edge(1).tcp, { version: 5 });
  const listener = await RawClient.connect(edge(0).tcp, { version: 5 });
  const served = [
    'a b',
    'tab\there',
    '*',
    '>',
    'a/*/>',
    'x\r\nPUB y 1\r\nz',
    'é/日本/😀',
    '\u0001\u007f',
    ' lead',
    'trail ',
    '…',
    '/',
    '//',
    'a.b.c',
    '..',
    '/HH',
    '%20',
  ];
  await listener.subscribe(...served);
  for (const topic of served) round.publish(topic, topic);
  assert.deepEqual(
    await listener.messages(served.length),
    served.map((topic) => ({ topic, payload: topic })),
  );
  await untilReached(round, bystander, 'bystander');
  assert.equal(await edge(0).metric('supermq_bus_reconnects_total'), reconnects);
  await Promise.all([bystander.end(), round.end(), listener.end()]);
});
