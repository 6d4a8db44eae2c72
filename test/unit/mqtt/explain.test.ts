/** mqtt/explain.ts: the Reason String goes into every packet that may have one, where it fits. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { encodeAcknowledgement } from '../../../src/mqtt/acknowledgement.ts';
import * as codec from '../../../src/mqtt/codec.ts';
import { explain } from '../../../src/mqtt/explain.ts';
import { Reason, reasonText } from '../../../src/mqtt/reason.ts';
import { packet, props, str } from './bytes.ts';

interface Explained {
  readonly reasonCode?: number;
  readonly properties?: Record<string, unknown>;
}

function parse(bytes: Buffer): Packet & Explained {
  const packets: Packet[] = [];
  const parser = mqttPacket.parser({ protocolVersion: 5 });
  parser.on('error', (error) => assert.fail(error));
  parser.on('packet', (read) => packets.push(read));
  assert.equal(parser.parse(bytes), 0, 'bytes are left over');
  const [only] = packets;
  assert.ok(only !== undefined && packets.length === 1);
  return only as Packet & Explained;
}

const connack = {
  sessionPresent: false,
  receiveMaximum: 100,
  maximumPacketSize: 1000,
  assignedClientId: 'made-up',
  topicAliasMaximum: 32,
};
const authenticating = packet(0xf0, 0x18, props([0x15], str('SCRAM')));

const cases: Array<[name: string, packet: Buffer]> = [
  ['[MQTT5 3.2.2-19] CONNACK with other properties', codec.encodeConnack(5, connack)],
  ['[MQTT5 3.2.2-19] CONNACK', codec.encodeConnackRefusal(5, Reason.notAuthorized) ?? Buffer.alloc(0)],
  ['[MQTT5 3.4.2-2] PUBACK', encodeAcknowledgement(4, 7, 5, Reason.notAuthorized)],
  ['[MQTT5 3.5.2-2] PUBREC', encodeAcknowledgement(5, 7, 5, Reason.quotaExceeded)],
  ['[MQTT5 3.6.2-2] PUBREL', encodeAcknowledgement(6, 7, 5, Reason.packetIdentifierNotFound)],
  ['[MQTT5 3.7.2-2] PUBCOMP', encodeAcknowledgement(7, 7, 5, Reason.packetIdentifierNotFound)],
  ['[MQTT5 3.9.2-1] SUBACK', codec.encodeSuback(5, 7, [0, 0x87])],
  ['[MQTT5 3.9.2-1] SUBACK of many codes', codec.encodeSuback(5, 7, new Array<number>(300).fill(0x8f))],
  ['[MQTT5 3.11.2-1] UNSUBACK', codec.encodeUnsuback(5, 7, [0, 0x8f])],
  ['[MQTT5 3.14.2-3] DISCONNECT', codec.encodeDisconnect(Reason.malformedPacket)],
  ['AUTH with other properties', authenticating],
];

for (const [name, bare] of cases) {
  test(`${name} says why where it fits, and goes without where it does not`, () => {
    for (const text of ['why', 'ü'.repeat(70), 'x'.repeat(20_000)]) {
      const explained = explain(bare, text, Number.POSITIVE_INFINITY);
      const { length: _, properties: before = {}, ...rest } = parse(bare);
      const { length: __, properties: after = {}, ...same } = parse(explained);
      assert.deepEqual(same, rest);
      assert.deepEqual({ ...after }, { ...before, reasonString: text });
      assert.deepEqual(explain(bare, text, explained.length), explained);
      assert.equal(explain(bare, text, explained.length - 1), bare);
    }
  });
}

test('a text that no string can hold, an empty one, and a packet without properties change nothing', () => {
  const disconnect = codec.encodeDisconnect(Reason.malformedPacket);
  assert.equal(explain(disconnect, 'é'.repeat(33_000), Number.POSITIVE_INFINITY), disconnect);
  assert.equal(explain(disconnect, '', Number.POSITIVE_INFINITY), disconnect);
  assert.equal(explain(codec.pingresp, 'why', Number.POSITIVE_INFINITY), codec.pingresp);
});

test('[MQTT5 3.1.2-24] a refusal that is larger than its client takes even without a reason is not sent', () => {
  assert.equal(codec.encodeConnackRefusal(5, Reason.notAuthorized, 'why', 4), undefined);
  assert.equal(codec.encodeConnackRefusal(5, Reason.notAuthorized, 'why', 5)?.length, 5);
});

test('the length of SUBACK and UNSUBACK is known before their codes', () => {
  for (const count of [1, 124, 125, 20_000]) {
    const codes = new Array<number>(count).fill(0);
    assert.equal(codec.subackLength(count), codec.encodeSuback(5, 1, codes).length);
    assert.equal(codec.subackLength(count), codec.encodeUnsuback(5, 1, codes).length);
  }
});

test('every code has a text', () => {
  for (const code of Object.values(Reason)) assert.notEqual(reasonText(code), '');
});
