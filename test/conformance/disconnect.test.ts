/** DISCONNECT both ways: which cause gets which code, that nothing comes behind it, and what a client's goodbye ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import type { IDisconnectPacket } from 'mqtt-packet';
import { startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { receivedBefore } from '../support/markers.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, connectPacket, RawClient, type Version } from '../support/raw-client.ts';
import { bytes, packet, props, str } from '../unit/mqtt/bytes.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({
    SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '1',
    SUPERMQ_LIMITS_MAX_PACKET_BYTES: '2000',
    SUPERMQ_LIMITS_RECEIVE_MAXIMUM: '2',
    SUPERMQ_LIMITS_TOPIC_ALIAS_MAXIMUM: '4',
    SUPERMQ_MQTT_CHECK_PAYLOAD_FORMAT: 'true',
  });
});
after(() => node.stop());

/** The end of a connection that gets a message at every moment. */
interface End {
  readonly reason: number | undefined;
  /** What came, the last packet last. */
  readonly packets: readonly string[];
  /** Of its DISCONNECT, the reason string apart. */
  readonly properties: readonly string[];
}

function propertiesOf({ properties = {} }: IDisconnectPacket): string[] {
  return Object.keys(properties).filter((name) => name !== 'reasonString');
}

/** Connects a client that others keep busy, and has `provoke` bring about its end. */
async function endOf(fields: ConnectFields, provoke: (client: RawClient) => Promise<void> | void): Promise<End> {
  const client = await RawClient.connect(node.tcp, fields);
  await client.subscribe('noise');
  const neighbours = [await RawClient.connect(node.tcp), await RawClient.connect(node.tcp)];
  const noise = setInterval(() => {
    for (const neighbour of neighbours) neighbour.publish('noise', 'x'.repeat(100));
  }, 1);
  await client.next('publish');
  await provoke(client);
  await client.closed;
  clearInterval(noise);
  await Promise.all(neighbours.map((neighbour) => neighbour.end()));
  const last = client.received.at(-1);
  return {
    reason: last?.cmd === 'disconnect' ? last.reasonCode : undefined,
    packets: client.received.map(({ cmd }) => cmd),
    properties: last?.cmd === 'disconnect' ? propertiesOf(last) : [],
  };
}

/** Of MQTT 5 only: MQTT 3.x has no words for it. */
const five: ReadonlyArray<readonly [cause: string, reason: number, sent: Buffer]> = [
  ['topic alias 0', 0x94, packet(0x30, str('t'), props(0x23, 0, 0))],
  ['[MQTT5 3.2.2-17] a topic alias above the maximum', 0x94, packet(0x30, str('t'), props(0x23, 0, 5))],
  ['a payload that is not the UTF-8 that it says', 0x99, packet(0x30, str('t'), props(0x01, 1), 0xff)],
  ['Session Expiry after 0 in CONNECT', 0x82, packet(0xe0, 0, props(0x11, 0, 0, 0, 9))],
];

/** Of every version. */
const causes: ReadonlyArray<readonly [cause: string, reason: number, sent: (version: Version) => Buffer]> = [
  ['PINGREQ with flags', 0x81, () => packet(0xc1)],
  ['a packet of a server', 0x82, () => packet(0xd0)],
  ['a topic with a wildcard', 0x90, (version) => packet(0x30, str('a/#'), version === 5 ? props() : bytes())],
  ['a packet above Maximum Packet Size', 0x95, () => bytes(0x30, 0xd0, 0x0f)],
];

const title =
  '[MQTT5 §3.14.2.1 causes] [MQTT5 3.14.2-1] [MQTT5 3.14.2-2] [MQTT5 3.14.2-4] [MQTT5 3.14.4-1] [MQTT5 3.14.4-2]';

for (const [cause, reason, sent] of five) {
  test(`${title} [C] ${cause}: 0x${reason.toString(16)} is the last packet, then the close`, async () => {
    const end = await endOf({ version: 5 }, (client) => client.send(sent));
    assert.equal(end.reason, reason);
    assert.equal(end.packets.indexOf('disconnect'), end.packets.length - 1);
    assert.deepEqual(end.properties, []);
  });
}

for (const [cause, reason, sent] of causes) {
  test(`${title} [MQTT311 §3.14] [C] ${cause}: 0x${reason.toString(16)} is the last packet, MQTT 3.x is closed without one`, async () => {
    for (const version of [3, 4, 5] as const) {
      const end = await endOf({ version }, (client) => client.send(sent(version)));
      assert.equal(end.reason, version === 5 ? reason : undefined);
      assert.equal(end.packets.indexOf('disconnect'), version === 5 ? end.packets.length - 1 : -1);
      assert.deepEqual(end.properties, []);
    }
  });
}

test(`${title} [MQTT311 §3.14] silence 0x8D, a takeover 0x8E, a second CONNECT 0x82, too many messages under way 0x93`, async () => {
  const provocations: ReadonlyArray<
    readonly [number, number, (client: RawClient, id: string) => Promise<void> | void]
  > = [
    [0x8d, 1, () => {}],
    [0x8e, 60, async (_, clientId) => (await RawClient.connect(node.tcp, { clientId })).end()],
    [0x82, 60, (client) => client.send(connectPacket({ version: client.version }))],
  ];
  for (const version of [4, 5] as const) {
    for (const [reason, keepalive, provoke] of provocations) {
      const clientId = `provoked-${version}-${reason}`;
      const end = await endOf({ version, keepalive, clientId }, (client) => provoke(client, clientId));
      assert.equal(end.reason, version === 5 ? reason : undefined);
      assert.equal(end.packets.indexOf('disconnect'), version === 5 ? end.packets.length - 1 : -1);
    }
  }
  const end = await endOf({ version: 5 }, (client) => {
    for (const messageId of [1, 2, 3]) client.publish('many', 'x', { qos: 2, messageId });
  });
  assert.equal(end.reason, 0x93);
});

test('[MQTT5 3.14.0-1] before a CONNACK that says success there is no DISCONNECT: other packets, refusals, silence', async () => {
  const will = { topic: '$SYS/x', payload: Buffer.from('x'), qos: 0 as const, retain: false };
  const sent: ReadonlyArray<readonly [Buffer | undefined, string[]]> = [
    [packet(0xc0), []],
    [packet(0x30, str('t'), props()), []],
    [packet(0xf0, 0x18, props(0x15, str('SCRAM-SHA-256'))), []],
    [undefined, []],
    [packet(0x10, str('MQTT'), 5, 3, 0, 60, props(), str('x')), ['connack']],
    [bytes(0x10, 0xff, 0xff, 0x7f), []],
  ];
  for (const [packet, answers] of sent) {
    const client = await RawClient.open(node.tcp, 5);
    if (packet !== undefined) client.send(packet);
    await client.closed;
    assert.deepEqual(
      client.received.map(({ cmd }) => cmd),
      answers,
    );
  }
  const refused = await RawClient.open(node.tcp, 5);
  refused.send(connectPacket({ version: 5, will }));
  await refused.closed;
  assert.deepEqual(
    refused.received.map(({ cmd }) => cmd),
    ['connack'],
  );
});

const goodbyes: ReadonlyArray<readonly [form: string, version: Version, sent: Buffer, publishesWill: boolean]> = [
  ['MQTT 3.1', 3, packet(0xe0), false],
  ['MQTT 3.1.1', 4, packet(0xe0), false],
  ['MQTT 5, length 0', 5, packet(0xe0), false],
  ['MQTT 5, code 0x00 without properties', 5, packet(0xe0, 0), false],
  ['MQTT 5, code 0x00', 5, packet(0xe0, 0, props()), false],
  ['MQTT 5, code 0x04 without properties', 5, packet(0xe0, 4), true],
  ['MQTT 5, code 0x04', 5, packet(0xe0, 4, props()), true],
];

for (const [form, version, sent, publishesWill] of goodbyes) {
  test(`[MQTT5 §3.14.2] [MQTT5 §3.14.4] [MQTT5 3.14.4-3] [MQTT311 3.14.4-2] [MQTT311 3.14.4-3] [C] ${form}: nothing behind DISCONNECT is handled, the will is ${publishesWill ? 'published' : 'discarded'}`, async () => {
    const watcher = await RawClient.connect(node.tcp);
    await watcher.subscribe('bye/#');
    const will = { topic: 'bye/will', payload: Buffer.from('x'), qos: 0 as const, retain: false };
    const client = await RawClient.connect(node.tcp, { version, will });
    const none = version === 5 ? props() : bytes();
    const publish = (topic: string): Buffer => packet(0x30, str(topic), none);
    // All in one segment.
    client.send(bytes(publish('bye/before'), sent, publish('bye/after'), packet(0xc0), packet(0xff)));
    await client.closed;
    assert.deepEqual(client.received, []);
    const topics = await receivedBefore(node.tcp, watcher, 'bye/marker');
    assert.deepEqual(topics, publishesWill ? ['bye/before', 'bye/will'] : ['bye/before']);
    await watcher.end();
  });
}

test('[MQTT5 §3.14.4] [MQTT311 §3.14.4] a client that says goodbye and does not close is closed', async () => {
  for (const version of [4, 5] as const) {
    const socket = connect({ port: node.tcp, host: '127.0.0.1', allowHalfOpen: true });
    const none = version === 5 ? props() : bytes();
    socket.write(bytes(packet(0x10, str('MQTT'), version, 2, 0, 0, none, str('stays')), packet(0xe0)));
    socket.resume();
    await once(socket, 'end');
    // Our half stays open; the server gives up on it all the same.
    let isGone = false;
    socket.on('error', () => {
      isGone = true;
    });
    const writing = setInterval(() => socket.write(packet(0xc0)), 100);
    await eventually(() => isGone, 'the connection is reset');
    clearInterval(writing);
    socket.destroy();
  }
});
