/** Bytes to packets and back: what comes out of right packets, what is written, and that no bytes break it. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import * as codec from '../../../src/mqtt/codec.ts';
import * as connect from '../../../src/mqtt/connect.ts';
import type { ClientPacket, ConnectPacket, ProtocolVersion } from '../../../src/mqtt/packet.ts';
import { MqttError, Reason } from '../../../src/mqtt/reason.ts';
import { bodyOffset, bytes, fullConnect, packet, property, props, refusal, str, u16 } from './bytes.ts';

const decodeConnect = (frame: Buffer): ConnectPacket => connect.decodeConnect(frame, bodyOffset(frame));
const decode = (version: ProtocolVersion, frame: Buffer): ClientPacket =>
  codec.decodeClientPacket(version, frame, bodyOffset(frame));

const subscribe5 = packet(
  0x82,
  u16(0xabcd),
  props(property.subscriptionIdentifier(268_435_455), property.user('a', 'b')),
  bytes(str('a/+'), 0b10_1110, str('b'), 0b01_0001),
);
const subscribe4 = packet(0x82, u16(3), str('a'), 2, str('b#'), 0);
const unsubscribe5 = packet(0xa2, u16(4), props(), str('a'), str('b'));
const disconnect5 = packet(0xe0, 4, props(property.sessionExpiry(0), property.reasonString('r')));
const auth5 = packet(0xf0, 0x19, props(property.authenticationMethod('m'), property.authenticationData('d')));

describe('decodeClientPacket', () => {
  test('SUBSCRIBE of MQTT 5', () => {
    assert.deepEqual(decode(5, subscribe5), {
      cmd: 'subscribe',
      packetId: 0xabcd,
      subscriptionIdentifier: 268_435_455,
      requests: [
        { filter: 'a/+', qos: 2, noLocal: true, retainAsPublished: true, retainHandling: 2 },
        { filter: 'b', qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 1 },
      ],
    });
  });

  test('SUBSCRIBE of MQTT 3.x', () => {
    const expected = {
      cmd: 'subscribe',
      packetId: 3,
      subscriptionIdentifier: 0,
      requests: [
        { filter: 'a', qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0 },
        { filter: 'b#', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 },
      ],
    };
    assert.deepEqual(decode(4, subscribe4), expected);
    assert.deepEqual(decode(3, subscribe4), expected);
  });

  test('UNSUBSCRIBE', () => {
    assert.deepEqual(decode(5, unsubscribe5), { cmd: 'unsubscribe', packetId: 4, filters: ['a', 'b'] });
    assert.deepEqual(decode(4, packet(0xa2, u16(5), str('c'))), { cmd: 'unsubscribe', packetId: 5, filters: ['c'] });
  });

  test('a request of MQTT 3.1 with DUP and a padded Remaining Length is read, and its frame left as it is', () => {
    const frame = bytes(0x8a, 0x86, 0x80, 0x00, u16(3), str('a'), 2);
    const before = Buffer.from(frame);
    const read = decode(3, frame);
    assert.equal(read.cmd === 'subscribe' && read.requests[0]?.filter, 'a');
    assert.deepEqual(frame, before);
    const unsubscribe = decode(3, packet(0xaa, u16(5), str('c')));
    assert.deepEqual(unsubscribe, { cmd: 'unsubscribe', packetId: 5, filters: ['c'] });
  });

  test('[MQTT5 §3.14.2] DISCONNECT in all its lengths', () => {
    const decoded = (reasonCode: number, sessionExpirySeconds?: number) => ({
      cmd: 'disconnect',
      reasonCode,
      sessionExpirySeconds,
    });
    assert.deepEqual(decode(5, packet(0xe0)), decoded(0));
    assert.deepEqual(decode(5, packet(0xe0, 4)), decoded(4));
    assert.deepEqual(decode(5, packet(0xe0, 4, props())), decoded(4));
    assert.deepEqual(decode(5, disconnect5), decoded(4, 0));
    assert.deepEqual(decode(4, packet(0xe0)), decoded(0));
    assert.deepEqual(decode(5, packet(0xe0, 0x98)), decoded(0x98));
  });

  test('AUTH and PINGREQ', () => {
    assert.deepEqual(decode(5, auth5), {
      cmd: 'auth',
      reasonCode: 0x19,
      authenticationMethod: 'm',
      authenticationData: Buffer.from('d'),
    });
    assert.deepEqual(decode(4, packet(0xc0)), { cmd: 'pingreq' });
  });

  test('a filter of 65,535 bytes', () => {
    const filter = 'é'.repeat(32_767);
    const decoded = decode(5, packet(0x82, u16(1), props(), str(filter), 0));
    assert.equal(decoded.cmd === 'subscribe' && decoded.requests[0]?.filter, filter);
  });

  for (const header of [0x20, 0x90, 0xb0, 0xd0]) {
    test(`[MQTT5 §3] [MQTT311 §3] packet type ${header >> 4}, which only a server sends, is refused`, () => {
      assert.throws(() => decode(5, packet(header, 0, 0)), refusal(0x82));
      assert.throws(() => decode(4, packet(header, 0, 0)), refusal(0x82));
    });
  }

  test('[MQTT5 §2.1.2] [MQTT311 §2.2.1] packet type 0, and AUTH from MQTT 3.x, are malformed', () => {
    assert.throws(() => decode(5, packet(0)), refusal(0x81));
    assert.throws(() => decode(4, auth5), refusal(0x81));
    assert.throws(() => decode(3, auth5), refusal(0x81));
  });

  test('[MQTT5 3.1.0-2] [MQTT311 3.1.0-2] a second CONNECT is refused', () => {
    assert.throws(() => decode(5, fullConnect), refusal(0x82));
  });

  test('an error of mqtt-packet is 0x81 with its cause, and the next packet is read all the same', () => {
    // Passes validation, which trusts the framing; mqtt-packet goes by the (wrong) Remaining Length.
    const cut = Buffer.from(subscribe4);
    cut[1] = 4;
    assert.throws(
      () => decode(4, cut),
      (error) => error instanceof MqttError && error.reason === 0x81 && error.cause instanceof Error,
    );
    const long = Buffer.from(subscribe4);
    long[1] = 90;
    assert.throws(() => decode(4, long), refusal(0x81));
    // Two whole packets for mqtt-packet, one for validation: the second must not reach the next caller.
    const two = packet(0x82, u16(1), str('a'), 0, str('b'), 0);
    two[1] = 6;
    assert.throws(() => decode(4, two), refusal(0x81));
    assert.equal(decode(4, subscribe4).cmd, 'subscribe');
  });

  test('what was decoded stays as it was when the next packet is decoded', () => {
    const first = decode(4, subscribe4);
    const before = structuredClone(first);
    decode(4, packet(0x82, u16(9), str('zzz'), 1));
    assert.deepEqual(first, before);
  });
});

describe('encoding', () => {
  test('CONNACK of MQTT 3.x is two bytes', () => {
    assert.deepEqual(codec.encodeConnack(4, { sessionPresent: true, receiveMaximum: 4 }), bytes(0x20, 2, 1, 0));
    assert.deepEqual(codec.encodeConnack(3, { sessionPresent: false }), bytes(0x20, 2, 0, 0));
  });

  test('[MQTT5 2.2.2-1] [MQTT5 3.2.2-1] CONNACK of MQTT 5 without properties has property length 0', () => {
    assert.deepEqual(codec.encodeConnack(5, { sessionPresent: true }), bytes(0x20, 3, 1, 0, 0));
  });

  test('CONNACK of MQTT 5 with all properties', () => {
    const encoded = codec.encodeConnack(5, {
      sessionPresent: false,
      sessionExpirySeconds: 60,
      receiveMaximum: 100,
      maximumQoS: 1,
      retainAvailable: false,
      maximumPacketSize: 1000,
      assignedClientId: 'made-up',
      topicAliasMaximum: 0,
      serverKeepAliveSeconds: 30,
    });
    const expected = [
      property.sessionExpiry(60),
      property.receiveMaximum(100),
      bytes(36, 1),
      bytes(37, 0),
      property.maximumPacketSize(1000),
      bytes(18, str('made-up')),
      property.topicAliasMaximum(0),
      bytes(19, u16(30)),
    ];
    assert.equal(encoded.length, packet(0x20, 0, 0, props(...expected)).length);
    for (const part of expected) assert.ok(encoded.includes(part), part.toString('hex'));
  });

  test('[MQTT311 3.2.2-6] a refusal of MQTT 3.x is a return code, or nothing where none fits', () => {
    assert.deepEqual(codec.encodeConnackRefusal(4, Reason.clientIdentifierNotValid), bytes(0x20, 2, 0, 2));
    assert.deepEqual(codec.encodeConnackRefusal(3, Reason.notAuthorized, 'why'), bytes(0x20, 2, 0, 5));
    assert.equal(codec.encodeConnackRefusal(4, Reason.malformedPacket), undefined);
  });

  test('[MQTT5 3.2.2-8] a refusal of MQTT 5 carries a code that CONNACK may carry', () => {
    assert.deepEqual(codec.encodeConnackRefusal(5, Reason.notAuthorized), bytes(0x20, 3, 0, 0x87, 0));
    assert.deepEqual(codec.encodeConnackRefusal(5, Reason.serverShuttingDown), bytes(0x20, 3, 0, 0x88, 0));
  });

  test('[MQTT5 3.2.2-19] [MQTT5 3.14.2-3] a reason string is left out where it would not fit', () => {
    const explained = props(property.reasonString('why'));
    const connack = packet(0x20, 0, 0x87, explained);
    assert.deepEqual(codec.encodeConnackRefusal(5, Reason.notAuthorized, 'why'), connack);
    assert.deepEqual(codec.encodeConnackRefusal(5, Reason.notAuthorized, 'why', connack.length), connack);
    assert.deepEqual(
      codec.encodeConnackRefusal(5, Reason.notAuthorized, 'why', connack.length - 1),
      packet(0x20, 0, 0x87, props()),
    );
    const disconnect = packet(0xe0, 0x81, explained);
    assert.deepEqual(codec.encodeDisconnect(Reason.malformedPacket, 'why', disconnect.length), disconnect);
    assert.deepEqual(
      codec.encodeDisconnect(Reason.malformedPacket, 'why', disconnect.length - 1),
      packet(0xe0, 0x81, props()),
    );
    assert.deepEqual(codec.encodeDisconnect(Reason.malformedPacket, 'é'.repeat(33_000)), packet(0xe0, 0x81, props()));
  });

  test('[MQTT5 3.1.2-2] [MQTT311 3.1.2-2] an unsupported level is answered in the form its client reads', () => {
    for (const level of [0, 3, 0x83, 0x84, 255]) {
      assert.deepEqual(codec.encodeUnsupportedVersion(level), bytes(0x20, 2, 0, 1), String(level));
    }
    for (const level of [5, 6, 0x7f]) {
      assert.deepEqual(codec.encodeUnsupportedVersion(level), bytes(0x20, 3, 0, 0x84, 0), String(level));
    }
  });

  test('[MQTT5 3.9.3-1] [MQTT311 3.9.3-2] SUBACK has one code per filter; MQTT 3.x only 0x80 for a failure', () => {
    const codes = [0, 1, 2, 0x8f, 0x87];
    assert.deepEqual(codec.encodeSuback(5, 0x0102, codes), packet(0x90, u16(0x0102), props(), codes));
    assert.deepEqual(codec.encodeSuback(4, 0xffff, codes), packet(0x90, u16(0xffff), [0, 1, 2, 0x80, 0x80]));
    const many = new Array<number>(300).fill(1);
    assert.deepEqual(codec.encodeSuback(4, 1, many), packet(0x90, u16(1), many));
  });

  test('[MQTT5 3.11.3-1] [MQTT311 3.10.4-5] UNSUBACK has one code per filter; MQTT 3.x has none', () => {
    assert.deepEqual(codec.encodeUnsuback(5, 7, [0, 0x11]), packet(0xb0, u16(7), props(), 0, 0x11));
    assert.deepEqual(codec.encodeUnsuback(4, 7, [0, 0x11]), packet(0xb0, u16(7)));
  });

  test('[MQTT5 3.15.2-1] [MQTT5 4.12.0-5] AUTH has its reason code and always the method; CONNACK repeats the method', () => {
    const method = property.authenticationMethod('m');
    const data = property.authenticationData('d');
    assert.deepEqual(codec.encodeAuth(0x18, 'm', Buffer.from('d')), packet(0xf0, 0x18, props(method, data)));
    assert.deepEqual(codec.encodeAuth(0x00, 'm', undefined), packet(0xf0, 0x00, props(method)));
    assert.deepEqual(
      codec.encodeAuth(0x18, 'm', Buffer.alloc(0)),
      packet(0xf0, 0x18, props(method, property.authenticationData(''))),
    );
    const authenticated = { authenticationMethod: 'm', authenticationData: Buffer.from('d') };
    assert.deepEqual(
      codec.encodeConnack(5, { sessionPresent: false, ...authenticated }),
      packet(0x20, 0, 0, props(method, data)),
    );
  });

  test('[MQTT5 3.14.2-1] DISCONNECT carries a code that DISCONNECT may carry', () => {
    assert.deepEqual(codec.encodeDisconnect(Reason.sessionTakenOver), packet(0xe0, 0x8e, props()));
    const unlisted = [0x11, 0x84, 0x85, 0x86, 0x88, 0x8c, 0x91, 0x92];
    for (const reason of Object.values(Reason)) {
      assert.ok(!unlisted.includes(codec.encodeDisconnect(reason)[2] ?? 0x11), String(reason));
    }
  });

  test('PINGRESP', () => {
    assert.deepEqual(codec.pingresp, bytes(0xd0, 0));
  });
});

describe('arbitrary input', () => {
  const versions = fc.constantFrom<ProtocolVersion>(3, 4, 5);
  const runs = { numRuns: 3000 };

  /** Runs `decodeIt`; true if it decoded, false if it refused, fails for any other error. */
  function survives(decodeIt: () => unknown): boolean {
    try {
      decodeIt();
      return true;
    } catch (error) {
      if (error instanceof MqttError) return false;
      throw error;
    }
  }

  test('arbitrary bodies throw nothing but MqttError', () => {
    fc.assert(
      fc.property(
        versions,
        fc.integer({ min: 0, max: 255 }),
        fc.uint8Array({ maxLength: 80 }),
        (version, header, body) => {
          const frame = packet(header, Buffer.from(body));
          survives(() => decode(version, frame));
          survives(() => decodeConnect(frame));
        },
      ),
      runs,
    );
  });

  test('bytes without any framing throw nothing but MqttError', () => {
    fc.assert(
      fc.property(versions, fc.uint8Array({ maxLength: 80 }), fc.nat(6), (version, data, offset) => {
        survives(() => codec.decodeClientPacket(version, Buffer.from(data), offset));
        survives(() => connect.decodeConnect(Buffer.from(data), offset));
      }),
      runs,
    );
  });

  const samples = [fullConnect, subscribe5, subscribe4, unsubscribe5, disconnect5, auth5];
  const edit = fc.record({ at: fc.nat(), removed: fc.nat(3), inserted: fc.uint8Array({ maxLength: 3 }) });

  test('mutated packets throw nothing but MqttError, and mqtt-packet reads all that pass validation', () => {
    fc.assert(
      fc.property(versions, fc.constantFrom(...samples), fc.array(edit, { maxLength: 4 }), (version, sample, edits) => {
        const header = sample[0] ?? 0;
        let body = sample.subarray(bodyOffset(sample));
        for (const { at, removed, inserted } of edits) {
          const position = at % (body.length + 1);
          body = bytes(body.subarray(0, position), Buffer.from(inserted), body.subarray(position + removed));
        }
        const frame = packet(header, body);
        for (const decodeIt of [() => decodeConnect(frame), () => decode(version, frame)]) {
          try {
            decodeIt();
          } catch (error) {
            assert.ok(error instanceof MqttError, String(error));
            assert.ok(!error.message.startsWith('cannot decode'), `validation let through: ${frame.toString('hex')}`);
          }
        }
      }),
      runs,
    );
  });

  const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }).map((value) => value.replaceAll('\0', 'x'));
  const request = fc.record(
    {
      filter: text,
      qos: fc.constantFrom(0, 1, 2),
      noLocal: fc.boolean(),
      retainAsPublished: fc.boolean(),
      retainHandling: fc.constantFrom(0, 1, 2),
    },
    { noNullPrototype: true },
  );

  test('any legal SUBSCRIBE is read as it was written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 0xffff }), fc.array(request, { minLength: 1 }), (packetId, requests) => {
        const body = requests.map(({ filter, qos, noLocal, retainAsPublished, retainHandling }) =>
          bytes(str(filter), qos | (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0) | (retainHandling << 4)),
        );
        const frame = packet(0x82, u16(packetId), props(), ...body);
        assert.deepEqual(decode(5, frame), { cmd: 'subscribe', packetId, subscriptionIdentifier: 0, requests });
      }),
    );
  });

  test('any legal CONNECT is read as it was written', () => {
    const data = fc.uint8Array({ maxLength: 40 }).map((value) => Buffer.from(value));
    const users = fc.array(fc.tuple(text, text), { maxLength: 5 });
    fc.assert(
      fc.property(text, data, data, users, fc.nat(0xffffffff), (clientId, password, payload, pairs, delay) => {
        const block = bytes(...pairs.map(([name, value]) => property.user(name, value)));
        const willBlock = props(block, property.willDelay(delay));
        const head = packet(
          0x10,
          str('MQTT'),
          5,
          0x46,
          u16(9),
          props(block),
          str(clientId),
          willBlock,
          str('t'),
          bytes(str(payload), str(password)),
        );
        const decoded = decodeConnect(head);
        assert.equal(decoded.clientId, clientId);
        assert.deepEqual(decoded.password, password);
        assert.deepEqual(decoded.will?.payload, payload);
        assert.deepEqual(decoded.will?.properties, block);
        assert.equal(decoded.will?.delaySeconds, delay);
      }),
    );
  });
});
