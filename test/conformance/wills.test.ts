/** Wills by the rules of MQTT 3.1.1 and 5, on an embedded node whose clock can be put forward. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment, testEmbedded } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import type { TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';
import { connectWithWill, type WillFields } from '../support/will-watch.ts';
import { packet, props, str, u16 } from '../unit/mqtt/bytes.ts';

const clock = new ShiftedClock();
let node: TestNode;
let watcher: RawClient;
before(async () => {
  node = await startDeployment({}, clock);
  watcher = await RawClient.connect(node.tcp, { version: 5, keepalive: 0 });
  watcher.acknowledges = true;
  await watcher.subscribe({ topic: 'will/#', qos: 2 });
});
after(() => node.stop());

let serial = 0;

/** A topic of its own. */
function anyTopic(): string {
  return `will/${++serial}`;
}

function connect(fields: WillFields): ReturnType<typeof connectWithWill> {
  return connectWithWill(node.tcp, { keepalive: 0, ...fields });
}

/** Topics of the wills that come before that of one more client, which crashes now: a will that is not among them was not published. */
async function publishedUntilNow(): Promise<string[]> {
  const last = anyTopic();
  await (await connect({ topic: last, qos: 2 })).abort();
  const topics: string[] = [];
  while (topics.at(-1) !== last) topics.push((await watcher.next('publish')).topic);
  return topics.slice(0, -1);
}

/** Passes when exactly this will was published. */
async function assertPublished(topic: string): Promise<void> {
  assert.deepEqual(await publishedUntilNow(), [topic]);
}

async function assertNotPublished(): Promise<void> {
  assert.deepEqual(await publishedUntilNow(), []);
}

for (const version of [3, 4, 5] as const) {
  const name = version === 3 ? 'MQTT 3.1' : version === 4 ? 'MQTT 3.1.1' : 'MQTT 5';

  test(`[MQTT5 3.1.2-8] [MQTT311 3.1.2-8] ${name}: the will is published when the network connection breaks, and when its end comes without DISCONNECT`, async () => {
    const [reset, ended] = [anyTopic(), anyTopic()];
    await (await connect({ version, topic: reset })).abort();
    assert.equal((await watcher.next('publish')).topic, reset);
    const client = await connect({ version, topic: ended });
    client.socket.end();
    assert.equal((await watcher.next('publish')).topic, ended);
  });

  test(`[MQTT5 3.1.2-8] [MQTT311 3.1.2-8] ${name}: the will is published after a protocol error`, async () => {
    const topic = anyTopic();
    const client = await connect({ version, topic });
    client.send(connectPacket({ version }));
    await client.closed;
    await assertPublished(topic);
  });

  testEmbedded(
    `[MQTT5 3.1.2-8] [MQTT311 3.1.2-8] ${name}: the will is published after a keep alive timeout`,
    async () => {
      const topic = anyTopic();
      const client = await connect({ version, topic, keepalive: 100 });
      clock.pass(160);
      await client.closed;
      await assertPublished(topic);
    },
  );

  test(`[MQTT5 3.1.2-8] [MQTT311 3.1.2-8] ${name}: the will of a connection that is taken over is published`, async () => {
    const topic = anyTopic();
    const clientId = `taken-${version}`;
    const first = await connect({ version, topic, clientId });
    const second = await RawClient.connect(node.tcp, { version, clientId, keepalive: 0 });
    await first.closed;
    await assertPublished(topic);
    await second.end();
    await assertNotPublished();
  });

  if (version !== 3) {
    test(`[MQTT5 3.1.2-10] [MQTT311 3.1.2-10] [MQTT5 3.14.4-3] [MQTT311 3.14.4-3] ${name}: DISCONNECT discards the will, and a will is published once`, async () => {
      const [kept, crashed] = [anyTopic(), anyTopic()];
      await (await connect({ version, topic: kept })).end();
      await assertNotPublished();
      await (await connect({ version, topic: crashed, clientId: `once-${version}` })).abort();
      await assertPublished(crashed);
      // A connection without a will of the same client ends the same way.
      await (await RawClient.connect(node.tcp, { version, clientId: `once-${version}` })).abort();
      await assertNotPublished();
    });

    test(`[MQTT5 3.1.2-11] [MQTT5 3.1.2-13] [MQTT311 3.1.2-11] [MQTT311 3.1.2-12] ${name}: without a will nothing is published after a crash`, async () => {
      await (await RawClient.connect(node.tcp, { version })).abort();
      await assertNotPublished();
    });

    const properties = version === 5 ? [props()] : [];
    const connectBytes = (flags: number, ...payload: Buffer[]): Buffer =>
      packet(0x10, str('MQTT'), version, flags, u16(0), ...properties, str(`bytes-${++serial}`), ...payload);
    const never = str('will/never');
    const malformedWills: ReadonlyArray<readonly [title: string, code: number, bytes: Buffer]> = [
      ['[MQTT5 3.1.2-9] [MQTT311 3.1.2-9] [C] will flag without topic and payload', 0x81, connectBytes(0x06)],
      ['[MQTT5 3.1.2-9] [MQTT311 3.1.2-9] [C] will without payload', 0x81, connectBytes(0x06, ...properties, never)],
      ['[MQTT5 3.1.2-11] [MQTT311 3.1.2-11] [MQTT311 3.1.2-13] [C] Will QoS without a will', 0x81, connectBytes(0x0a)],
      [
        '[MQTT5 3.1.2-13] [MQTT311 3.1.2-11] [MQTT311 3.1.2-15] [C] Will Retain without a will',
        0x81,
        connectBytes(0x22),
      ],
      [
        '[MQTT5 3.1.2-11] [MQTT311 3.1.2-11] [C] topic and payload of a will without the flag',
        0x81,
        connectBytes(0x02, ...properties, never, str('x')),
      ],
      ['[MQTT5 3.1.2-12] [MQTT311 3.1.2-14] [C] Will QoS 3', 0x81, connectBytes(0x1e, ...properties, never, str('x'))],
      [
        '[MQTT5 3.1.3-11] [MQTT311 3.1.3-10] [C] will topic that is not UTF-8',
        0x81,
        connectBytes(0x06, ...properties, str(Buffer.from([0x77, 0xff])), str('x')),
      ],
      [
        '[MQTT5 4.7.0-1] [MQTT311 4.7.1-1] [MQTT5 3.1.3-11] [C] will topic with #',
        0x90,
        connectBytes(0x06, ...properties, str('will/#'), str('x')),
      ],
      [
        '[MQTT5 4.7.3-1] [MQTT311 4.7.3-1] [MQTT5 3.1.3-11] [C] empty will topic',
        0x90,
        connectBytes(0x06, ...properties, str(''), str('x')),
      ],
    ];
    for (const [what, code, bytes] of malformedWills) {
      test(`${name}: ${what} is refused, and nothing is published`, async () => {
        const client = await RawClient.open(node.tcp, version);
        client.send(bytes);
        await client.closed;
        const [answer] = client.received;
        if (version === 4) assert.equal(answer, undefined);
        else assert.equal(answer?.cmd === 'connack' && answer.reasonCode, code);
        await assertNotPublished();
      });
    }

    test(`[MQTT5 §3.1.4 will-permission] ${name}: a will on a topic that clients may not publish to is refused at CONNECT`, async () => {
      for (const topic of ['$SYS/will', '$JS/API/STREAM/LIST', '_INBOX/will']) {
        const refused = await connect({ version, topic });
        assert.equal(version === 5 ? refused.connack.reasonCode : refused.connack.returnCode, version === 5 ? 0x87 : 5);
        await refused.closed;
      }
      await assertNotPublished();
    });
  }

  test(`[MQTT5 3.1.2-8] [MQTT311 3.1.2-8] ${name}: each Will QoS is the QoS of the publication`, async () => {
    for (const qos of [0, 1, 2] as const) {
      const topic = anyTopic();
      await (await connect({ version, topic, qos })).abort();
      const publication = await watcher.next('publish');
      assert.deepEqual([publication.topic, publication.qos, publication.payload.toString()], [topic, qos, 'gone']);
    }
  });
}

test('[MQTT5 3.3.2-14] [MQTT5 3.1.3-11] [C] a will whose Response Topic has a wildcard is refused', async () => {
  const client = await RawClient.open(node.tcp, 5);
  const will = { topic: 'will/never', payload: Buffer.from('x'), qos: 0 as const, retain: false };
  client.send(connectPacket({ version: 5, will: { ...will, properties: { responseTopic: 'a/#' } } }));
  await client.closed;
  const [answer] = client.received;
  assert.equal(answer?.cmd === 'connack' && answer.reasonCode, 0x82);
  await assertNotPublished();
});

/** Everything that comes on a connection from now on. */
function bytesOf(client: RawClient): () => Buffer {
  const chunks: Buffer[] = [];
  client.socket.on('data', (chunk) => chunks.push(chunk));
  return () => Buffer.concat(chunks);
}

const willUserProperties = Buffer.concat(
  [
    ['b', '1'],
    ['a', '2'],
    ['b', '1'],
    ['a', ''],
  ].map(([key = '', value = '']) => Buffer.concat([Buffer.from([38]), str(key), str(value)])),
);
const otherWillProperties = {
  payloadFormatIndicator: true,
  contentType: 'text/plain',
  responseTopic: 'answers',
  correlationData: Buffer.from([0, 1, 0xff]),
};

/** A client whose will has every property there is, and dies. */
async function dieWithAllProperties(topic: string, qos: 0 | 1 | 2): Promise<void> {
  const expiry = Buffer.from([2, 0, 0, 0, 60]);
  const delay = Buffer.from([24, 0, 0, 0, 0]);
  const { contentType, correlationData, responseTopic } = otherWillProperties;
  const texts = [Buffer.from([3]), str(contentType), Buffer.from([8]), str(responseTopic)];
  const others = Buffer.concat([Buffer.from([1, 1]), expiry, ...texts, Buffer.from([9]), str(correlationData)]);
  // User properties on both sides of the delay, which is not forwarded.
  const properties = props(willUserProperties.subarray(0, 7), delay, willUserProperties.subarray(7), others);
  const client = await RawClient.open(node.tcp, 5);
  const flags = 0x26 | (qos << 3);
  const body = [str('MQTT'), 5, flags, u16(0), props(), str(`all-${qos}`), properties, str(topic), str('gone')];
  client.send(packet(0x10, ...body));
  await client.next('connack');
  await client.abort();
}

/** The will has come to this client with all its properties. */
async function assertAllProperties(client: RawClient, bytes: () => Buffer, isRetained: boolean): Promise<void> {
  const { payload, properties = {}, retain } = await client.next('publish');
  assert.deepEqual([payload.toString(), retain], ['gone', isRetained]);
  assert.ok(bytes().includes(willUserProperties), 'user properties as they were');
  const { messageExpiryInterval = 0, userProperties: _, ...others } = properties;
  assert.deepEqual({ ...others }, otherWillProperties);
  assert.ok(messageExpiryInterval > 50 && messageExpiryInterval <= 60, `${messageExpiryInterval} seconds remain`);
}

for (const qos of [0, 1, 2] as const) {
  test(`[MQTT5 3.1.3-10] [MQTT5 3.3.2-15] [MQTT5 3.3.2-16] [E] QoS ${qos}: a will keeps all its properties, user properties in order with duplicates: live, retained, and for who was away`, async () => {
    const topic = anyTopic();
    const away = { version: 5 as const, clientId: `away-${qos}`, properties: { sessionExpiryInterval: 100 } };
    const before = await RawClient.connect(node.tcp, away);
    await before.subscribe({ topic, qos: 1 });
    await before.end();
    const live = await RawClient.connect(node.tcp, { version: 5 });
    await live.subscribe({ topic, qos: 1 });
    const liveBytes = bytesOf(live);
    await dieWithAllProperties(topic, qos);
    await assertAllProperties(live, liveBytes, false);
    await watcher.next('publish');
    const late = await RawClient.connect(node.tcp, { version: 5 });
    const lateBytes = bytesOf(late);
    // Of QoS 0 nothing tells when it is stored.
    await eventually(async () => {
      await late.subscribe({ topic, qos: 1 });
      await late.ping();
      return late.received.length > 0;
    }, 'a retained will');
    await assertAllProperties(late, lateBytes, true);
    for (const client of [live, late]) await client.end();
    if (qos === 0) return; // nothing of QoS 0 is kept for who is away
    const back = await RawClient.open(node.tcp, 5);
    const backBytes = bytesOf(back);
    back.send(connectPacket({ ...away, clean: false }));
    await assertAllProperties(back, backBytes, false);
    await back.end(0);
  });
}

testEmbedded('[MQTT5 §3.1.3.2.2] the will is published when its delay has passed, and not before', async () => {
  const topic = anyTopic();
  const client = await connect({ topic, delaySeconds: 20, expirySeconds: 100 });
  await client.abort();
  await assertNotPublished();
  clock.pass(15);
  await assertNotPublished();
  clock.pass(6);
  assert.equal((await watcher.next('publish')).topic, topic);
  await assertNotPublished();
});

testEmbedded(
  '[MQTT5 §3.1.3.2.2] the end of the session comes before the delay: the will is published then',
  async () => {
    const [atOnce, later] = [anyTopic(), anyTopic()];
    await (await connect({ topic: atOnce, delaySeconds: 50, expirySeconds: 0 })).abort();
    await assertPublished(atOnce);
    await (await connect({ topic: later, delaySeconds: 50, expirySeconds: 10 })).abort();
    await assertNotPublished();
    clock.pass(11);
    assert.equal((await watcher.next('publish')).topic, later);
  },
);

testEmbedded(
  '[MQTT5 3.1.3-9] a client that is back in its session before the delay has passed cancels its will',
  async () => {
    const [topic, clientId] = [anyTopic(), 'back'];
    const before = node.counters.willsCancelled;
    await (await connect({ topic, clientId, clean: false, delaySeconds: 20, expirySeconds: 100 })).abort();
    clock.pass(10);
    const back = await connect({ topic: anyTopic(), clientId, clean: false, delaySeconds: 20, expirySeconds: 100 });
    assert.equal(back.connack.sessionPresent, true);
    clock.pass(30);
    await assertNotPublished();
    assert.equal(node.counters.willsCancelled - before, 1);
    await back.end(0);
  },
);

testEmbedded(
  '[MQTT5 3.1.3-9] a takeover of the session cancels a delayed will, and publishes one without delay',
  async () => {
    const [delayed, prompt, clientId] = [anyTopic(), anyTopic(), 'taken-session'];
    const session = { clientId, clean: false, expirySeconds: 100 };
    await connect({ ...session, topic: delayed, delaySeconds: 20 });
    await connect({ ...session, topic: prompt });
    clock.pass(30);
    await assertNotPublished();
    const last = await RawClient.connect(node.tcp, { version: 5, clientId, clean: false });
    await assertPublished(prompt);
    await last.end();
  },
);

test('[MQTT5 §3.1.3.2.2] Clean Start ends the session, so a will that waits is published, by a takeover too', async () => {
  const [waiting, taken, clientId] = [anyTopic(), anyTopic(), 'clean'];
  await (await connect({ topic: waiting, clientId, delaySeconds: 20, expirySeconds: 100 })).abort();
  await assertNotPublished();
  const second = await connect({ topic: taken, clientId, clean: true, delaySeconds: 20, expirySeconds: 100 });
  await assertPublished(waiting);
  const third = await RawClient.connect(node.tcp, { version: 5, clientId, clean: true });
  await second.closed;
  await assertPublished(taken);
  await third.end();
});

testEmbedded(
  'a will that waited too long is published when its client comes back, before what the client publishes',
  async () => {
    const [topic, clientId] = [anyTopic(), 'late'];
    await (await connect({ topic, clientId, clean: false, qos: 1, expirySeconds: 1_000, delaySeconds: 20 })).abort();
    await assertNotPublished();
    clock.pass(21);
    const back = await RawClient.connect(node.tcp, { version: 5, clientId, clean: false });
    await back.publishAcknowledged(topic, 'online', 1);
    assert.equal((await watcher.next('publish')).payload.toString(), 'gone');
    assert.equal((await watcher.next('publish')).payload.toString(), 'online');
    await back.end(0);
  },
);

test('[MQTT5 §3.14.2.2.2] [MQTT5 §3.14.2.1 with-will] DISCONNECT 0x04 with another Session Expiry Interval: the will is due by that one', async () => {
  const topic = anyTopic();
  const client = await connect({ topic, delaySeconds: 50, expirySeconds: 100 });
  client.send({ cmd: 'disconnect', reasonCode: 4, properties: { sessionExpiryInterval: 0 } });
  await client.closed;
  await assertPublished(topic);
});

test('[MQTT5 §3.14.2.2.2] [C] DISCONNECT 0x00 with a Session Expiry Interval after 0 in CONNECT is no valid one: 0x82, and the will is published', async () => {
  const topic = anyTopic();
  const client = await connect({ topic, delaySeconds: 50, expirySeconds: 0 });
  client.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 10 } });
  assert.equal(await client.closingReason(), 0x82);
  await assertPublished(topic);
  const polite = await connect({ topic: anyTopic(), expirySeconds: 0 });
  await polite.end(0);
  await assertNotPublished();
});

test('[MQTT5 §3.14.2.1 with-will] [MQTT5 3.1.2-8] DISCONNECT with any code but 0x00 publishes the will', async () => {
  for (const reasonCode of [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]) {
    const topic = anyTopic();
    const client = await connect({ topic });
    client.send({ cmd: 'disconnect', reasonCode });
    await client.closed;
    assert.deepEqual(client.received, [], 'closed without an answer');
    await assertPublished(topic);
  }
});

testEmbedded('[MQTT5 3.1.2-10] DISCONNECT discards a will that has a delay', async () => {
  const client = await connect({ topic: anyTopic(), delaySeconds: 5, expirySeconds: 100 });
  await client.end();
  clock.pass(10);
  await assertNotPublished();
});

test('a will whose properties are more than the store can take is refused with 0x95, and nothing is published', async () => {
  const userProperties = { large: Array.from({ length: 14 }, () => 'x'.repeat(60_000)) };
  const client = await RawClient.open(node.tcp, 5);
  const will = { topic: 'will/never', payload: Buffer.from('x'), qos: 1 as const, retain: false };
  client.send(connectPacket({ version: 5, will: { ...will, properties: { userProperties } } }));
  await client.closed;
  const [answer] = client.received;
  assert.equal(answer?.cmd === 'connack' && answer.reasonCode, 0x95);
  await assertNotPublished();
});

test('[MQTT5 §3.1.2.5] a stopping node publishes wills without delay', async () => {
  const leaving = await startDeployment();
  await connectWithWill(leaving.tcp, { topic: 'will/stopped', qos: 0 });
  await leaving.stop();
  assert.equal(leaving.counters.willsPublished, 1);
});

test('[MQTT5 3.2.2-3] [MQTT311 3.2.2-2] a session that ends with its connection and has a will is never present again', async () => {
  const fields = { clientId: 'brief', topic: anyTopic(), clean: false };
  await (await connect(fields)).abort();
  await assertPublished(fields.topic);
  const again = await connect(fields);
  assert.equal(again.connack.sessionPresent, false);
  await again.end();
});
