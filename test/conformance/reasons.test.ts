/** Reason strings on an embedded node: who gets them, and that nothing is larger than its client takes. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { type Acknowledgement, type ConnectFields, connectPacket, RawClient } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_MAX_SUBSCRIPTIONS_PER_CLIENT: '2' });
});
after(() => node.stop());

type Properties = NonNullable<ConnectFields['properties']>;

function connect(properties: Properties = {}, fields: ConnectFields = {}): Promise<RawClient> {
  return RawClient.connect(node.tcp, { version: 5, ...fields, properties });
}

interface Answer {
  /** Reason codes. */
  readonly codes: readonly number[];
  readonly reasonString: string | undefined;
}

function answerOf(packet: Packet & { reasonCode?: number; granted?: unknown; properties?: object }): Answer {
  const codes = packet.granted === undefined ? [packet.reasonCode ?? 0] : (packet.granted as number[]);
  const { reasonString, ...others } = (packet.properties ?? {}) as { reasonString?: string };
  assert.deepEqual({ ...others }, {}, 'neither user properties nor anything else');
  return { codes, reasonString };
}

/** Sends a packet and returns the answer of this kind. */
async function ask(client: RawClient, packet: Packet, answer: Packet['cmd']): Promise<Answer> {
  client.send(packet);
  return answerOf(await client.next(answer));
}

function publishTo(topic: string, qos: 1 | 2): IPublishPacket {
  return { cmd: 'publish', topic, payload: 'x', qos, dup: false, retain: false, messageId: 9 };
}

function subscribeTo(...topics: string[]): Packet {
  return { cmd: 'subscribe', messageId: 9, subscriptions: topics.map((topic) => ({ topic, qos: 1 as const })) };
}

function unsubscribeFrom(...unsubscriptions: string[]): Packet {
  return { cmd: 'unsubscribe', messageId: 9, unsubscriptions };
}

function release(cmd: Acknowledgement): Packet {
  return { cmd, messageId: 9, reasonCode: 0 } as Packet;
}

const reserved = 'not authorized: topic is reserved';
/** By the statement on Reason Strings; the one behind it is on User Properties, of which there are none. */
const refusals: Array<[id: string, packet: Packet, answer: Packet['cmd'], expected: Answer]> = [
  ['3.4.2-2', publishTo('$reserved', 1), 'puback', { codes: [0x87], reasonString: reserved }],
  ['3.5.2-2', publishTo('$reserved', 2), 'pubrec', { codes: [0x87], reasonString: reserved }],
  ['3.6.2-2', release('pubrec'), 'pubrel', { codes: [0x92], reasonString: 'packet id is not known' }],
  ['3.7.2-2', release('pubrel'), 'pubcomp', { codes: [0x92], reasonString: 'packet id is not known' }],
  [
    '3.9.2-1',
    subscribeTo('a/#/b', 'fine', '#/b', '$other'),
    'suback',
    { codes: [0x8f, 1, 0x8f, 0x87], reasonString: `topic filter is not valid; ${reserved}` },
  ],
  [
    '3.9.2-1',
    subscribeTo('one', 'two', 'three'),
    'suback',
    { codes: [1, 1, 0x97], reasonString: 'quota: more than 2 subscriptions' },
  ],
  [
    '3.11.2-1',
    unsubscribeFrom('a/#/b', 'unknown'),
    'unsuback',
    { codes: [0x8f, 0x11], reasonString: 'topic filter is not valid' },
  ],
];

for (const [id, packet, cmd, expected] of refusals) {
  const next = id.replace(/\d$/, (digit) => String(Number(digit) + 1));
  const name = `${cmd.toUpperCase()} 0x${Math.max(...expected.codes).toString(16)}`;
  test(`[MQTT5 ${id}] [MQTT5 3.1.2-29] ${name} says why, but not to a client that states Request Problem Information 0`, async () => {
    const told = await connect();
    const asked = await connect({ requestProblemInformation: true });
    const untold = await connect({ requestProblemInformation: false });
    assert.deepEqual(await ask(told, packet, cmd), expected);
    assert.deepEqual(await ask(asked, packet, cmd), expected);
    assert.deepEqual(await ask(untold, packet, cmd), { ...expected, reasonString: undefined });
    await Promise.all([told, asked, untold].map((client) => client.end()));
  });

  test(`[MQTT5 ${id}] [MQTT5 ${next}] [MQTT5 3.1.2-24] ${name} goes without its reason where the client does not take a packet as large`, async () => {
    const tight = await connect({ maximumPacketSize: 26 });
    assert.deepEqual(await ask(tight, packet, cmd), { ...expected, reasonString: undefined });
    await tight.end();
  });
}

test('[MQTT5 §3.4.2.2.2] what succeeds, and what clients of MQTT 3.1.1 get, carries no reason', async () => {
  const client = await connect();
  const filter = 'success/#';
  assert.deepEqual(await ask(client, publishTo('success', 1), 'puback'), { codes: [0], reasonString: undefined });
  assert.deepEqual(await ask(client, subscribeTo(filter), 'suback'), { codes: [1], reasonString: undefined });
  assert.deepEqual(await ask(client, unsubscribeFrom(filter), 'unsuback'), { codes: [0], reasonString: undefined });
  const old = await RawClient.connect(node.tcp, { version: 4 });
  assert.deepEqual(await old.subscribe('a/#/b'), [0x80]);
  assert.equal(await old.publishAcknowledged('$reserved', 'x', 1), 0);
  await Promise.all([client.end(), old.end()]);
});

test('[MQTT5 3.14.2-3] [MQTT5 3.14.2-4] [MQTT5 3.14.2-2] [MQTT5 3.1.2-29] DISCONNECT says why, whatever Request Problem Information is, where it fits', async () => {
  const breach: IPublishPacket = { ...publishTo('x', 1), topic: '', messageId: 3 };
  for (const properties of [{}, { requestProblemInformation: false }]) {
    const client = await connect(properties);
    const answer = await ask(client, breach, 'disconnect');
    assert.deepEqual(answer, { codes: [0x82], reasonString: 'empty topic name without topic alias' });
    await client.closed;
  }
  const tight = await connect({ maximumPacketSize: 26 });
  assert.deepEqual(await ask(tight, breach, 'disconnect'), { codes: [0x82], reasonString: undefined });
  await tight.closed;
});

/** Connects, and returns the CONNACK; undefined when the server closes without. */
async function refusal(packet: Buffer): Promise<(Answer & { readonly size: number }) | undefined> {
  const client = await RawClient.open(node.tcp, 5);
  client.send(packet);
  await client.closed;
  const [connack] = client.taken('connack');
  return connack === undefined ? undefined : { ...answerOf(connack), size: (connack.length ?? 0) + 2 };
}

/** A CONNECT that is refused: there are no authentication methods. */
function unwanted(properties: Properties): Buffer {
  return mqttPacket.generate(
    connectPacket({ version: 5, properties: { ...properties, authenticationMethod: 'none' } }),
  );
}

/** A CONNECT that is malformed behind its properties: the client id is not UTF-8. */
function malformed(properties: Properties): Buffer {
  const packet = mqttPacket.generate(connectPacket({ version: 5, clientId: 'ab', properties }));
  packet.set([0xc3, 0x28], packet.length - 2);
  return packet;
}

/** Remaining Length in one byte more than needed. [MQTT5 1.5.5-1] */
function padded(properties: Properties): Buffer {
  const frame = mqttPacket.generate(connectPacket({ version: 5, properties }));
  return Buffer.concat([frame.subarray(0, 1), Buffer.from([(frame[1] ?? 0) | 0x80, 0]), frame.subarray(2)]);
}

for (const [name, make, code] of [
  ['refused', unwanted, 0x8c],
  ['malformed', malformed, 0x81],
  ['padded', padded, 0x81],
] as const) {
  test(`[MQTT5 3.2.2-19] [MQTT5 3.2.2-20] [MQTT5 3.1.2-24] the CONNACK for a ${name} CONNECT respects its Maximum Packet Size`, async () => {
    const told = await refusal(make({ requestProblemInformation: false }));
    assert.deepEqual(told?.codes, [code]);
    assert.ok(told.reasonString !== undefined && told.reasonString !== ''); // CONNACK may [MQTT5 3.1.2-29]
    const size = told.size;
    assert.deepEqual(await refusal(make({ maximumPacketSize: size })), told);
    assert.deepEqual(await refusal(make({ maximumPacketSize: size - 1 })), {
      codes: [code],
      reasonString: undefined,
      size: 5,
    });
    assert.deepEqual((await refusal(make({ maximumPacketSize: 5 })))?.codes, [code]);
    assert.equal(await refusal(make({ maximumPacketSize: 4 })), undefined);
  });
}

test('[MQTT5 3.1.2-24] a client that could not take its CONNACK is refused with 0x95 and closes no other connection', async () => {
  const clientId = 'small-connack';
  const first = await connect({}, { clientId });
  const small = (maximumPacketSize: number): Buffer =>
    mqttPacket.generate(connectPacket({ version: 5, clientId, properties: { maximumPacketSize } }));
  assert.deepEqual(await refusal(small(15)), { codes: [0x95], reasonString: undefined, size: 5 });
  assert.equal(await refusal(small(4)), undefined);
  await first.ping();
  // With an assigned client id it is larger.
  const assigned = mqttPacket.generate(
    connectPacket({ version: 5, clientId: '', properties: { maximumPacketSize: 40 } }),
  );
  assert.deepEqual(await refusal(assigned), { codes: [0x95], reasonString: undefined, size: 5 });
  const second = await connect({ maximumPacketSize: 16 }, { clientId });
  assert.equal(await first.closingReason(), 0x8e);
  await second.end();
});

test('[MQTT5 3.1.2-24] a SUBACK that the client could not take: DISCONNECT 0x95, and nothing is subscribed', async () => {
  const fields = { clientId: 'small-suback', clean: false };
  const properties = { maximumPacketSize: 26, sessionExpiryInterval: 60 };
  const client = await connect(properties, fields);
  assert.deepEqual(await client.subscribe(...new Array<string>(21).fill('kept')), new Array<number>(21).fill(0));
  client.send(subscribeTo(...new Array<string>(22).fill('lost')));
  assert.equal(await client.closingReason(), 0x95);
  const again = await connect(properties, fields);
  const publisher = await connect();
  for (const topic of ['lost', 'kept']) publisher.publish(topic, 'x');
  assert.deepEqual(await again.messages(1), [{ topic: 'kept', payload: 'x' }]);
  again.send(unsubscribeFrom(...new Array<string>(22).fill('kept')));
  assert.equal(await again.closingReason(), 0x95);
  const third = await connect(properties, fields);
  publisher.publish('kept', 'y');
  assert.deepEqual(await third.messages(1), [{ topic: 'kept', payload: 'y' }]);
  await Promise.all([third.end(0), publisher.end()]);
});
