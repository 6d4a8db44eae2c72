/** Properties of MQTT 5: the scan of a block, what it refuses, what it forwards, and variable byte integers. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PacketType } from '../../../src/mqtt/packet.ts';
import {
  checkProperties,
  noProperties,
  scanPublishProperties,
  scanWillProperties,
  varintLength,
  writeVarint,
} from '../../../src/mqtt/properties.ts';
import { type PropertyPlace, properties } from '../../../src/mqtt/property-table.ts';
import { Reader } from '../../../src/mqtt/reader.ts';
import { MqttError } from '../../../src/mqtt/reason.ts';
import { badStrings, bytes, property, props, refusal, str, u16, u32, varint } from './bytes.ts';

const scanPublish = (block: Buffer) => scanPublishProperties(block, 0, block.length);
const scanWill = (block: Buffer) => scanWillProperties(block, 0, block.length);
const check = (block: Buffer, place: PropertyPlace) => {
  const reader = new Reader(block, 0, block.length);
  const result = checkProperties(reader, place);
  reader.expectEnd();
  return result;
};

/** A legal encoded property for each identifier. */
function sample(id: number): Buffer {
  const { type } = properties.find((definition) => definition.id === id) ?? { type: 'byte' };
  const value = {
    byte: bytes(1),
    uint16: u16(7),
    uint32: u32(7),
    varint: varint(7),
    string: str('x'),
    binary: str(bytes(0, 255)),
    pair: bytes(str('n'), str('v')),
  }[type];
  return bytes(id, value);
}

const clientPlaces: readonly (readonly [string, PropertyPlace])[] = [
  ['CONNECT', PacketType.connect],
  ['will', 'will'],
  ['PUBLISH', PacketType.publish],
  ['SUBSCRIBE', PacketType.subscribe],
  ['UNSUBSCRIBE', PacketType.unsubscribe],
  ['DISCONNECT', PacketType.disconnect],
  ['AUTH', PacketType.auth],
];

/** From the appendix of the checklist, written once more by hand. */
const allowed: Readonly<Record<string, readonly number[]>> = {
  CONNECT: [17, 21, 22, 23, 25, 33, 34, 38, 39],
  will: [1, 2, 3, 8, 9, 24, 38],
  PUBLISH: [1, 2, 3, 8, 9, 35, 38],
  SUBSCRIBE: [11, 38],
  UNSUBSCRIBE: [38],
  DISCONNECT: [17, 31, 38],
  AUTH: [21, 22, 31, 38],
};

/** Known there, but only from a server. */
const serverOnly: Readonly<Record<string, number>> = { PUBLISH: 11, DISCONNECT: 28 };

function scan(place: PropertyPlace, block: Buffer): void {
  if (place === 'will') scanWill(block);
  else if (place === PacketType.publish) scanPublish(block);
  else check(props(block), place);
}

describe('properties: where they may stand', () => {
  for (const [name, place] of clientPlaces) {
    test(`[MQTT5 §2.2.2.2 misplaced] ${name} takes its properties and refuses all others, known or not`, () => {
      for (let id = 0; id < 128; id++) {
        const block = sample(id);
        // Authentication Data needs its method.
        const prefix = id === 22 && allowed[name]?.includes(22) ? sample(21) : bytes();
        if (allowed[name]?.includes(id)) scan(place, bytes(prefix, block));
        else assert.throws(() => scan(place, block), refusal(serverOnly[name] === id ? 0x82 : 0x81), `property ${id}`);
      }
    });

    test(`[MQTT5 §2.2.2.2 misplaced] [MQTT5 §2.2.2.2 user-property] ${name} takes User Property often and anything else once`, () => {
      for (const id of allowed[name] ?? []) {
        const prefix = id === 22 ? sample(21) : bytes();
        const twice = bytes(prefix, sample(id), sample(id));
        if (id === 38) scan(place, twice);
        else assert.throws(() => scan(place, twice), refusal(0x82), `property ${id}`);
      }
    });
  }
});

describe('properties: values', () => {
  const cases: readonly (readonly [string, number, PropertyPlace, Buffer])[] = [
    ['[MQTT5 §3.3.2.3.2] Payload Format Indicator 2', 0x82, PacketType.publish, property.payloadFormat(2)],
    ['[MQTT5 §3.3.2.3.2] Payload Format Indicator 255 in a will', 0x82, 'will', property.payloadFormat(255)],
    [
      '[MQTT5 §3.1.2.11] Request Problem Information 2',
      0x82,
      PacketType.connect,
      property.requestProblemInformation(2),
    ],
    [
      '[MQTT5 §3.1.2.11] Request Response Information 2',
      0x82,
      PacketType.connect,
      property.requestResponseInformation(2),
    ],
    ['[MQTT5 3.3.2-8] Topic Alias 0', 0x94, PacketType.publish, property.topicAlias(0)],
    [
      '[MQTT5 3.3.4-6] Subscription Identifier in a PUBLISH',
      0x82,
      PacketType.publish,
      property.subscriptionIdentifier(1),
    ],
    ['[MQTT5 §3.8.2.1.2] Subscription Identifier 0', 0x82, PacketType.subscribe, property.subscriptionIdentifier(0)],
    ['[MQTT5 1.5.5-1] Subscription Identifier longer than needed', 0x81, PacketType.subscribe, bytes(11, 0x81, 0x00)],
    [
      '[MQTT5 1.5.5-1] Subscription Identifier of five bytes',
      0x81,
      PacketType.subscribe,
      bytes(11, 128, 128, 128, 128, 1),
    ],
    [
      '[MQTT5 1.5.5-1] identifier longer than needed',
      0x81,
      PacketType.subscribe,
      bytes(0xa6, 0x00, str('n'), str('v')),
    ],
    ['[MQTT5 §3.1.2.11.3] Receive Maximum 0', 0x82, PacketType.connect, property.receiveMaximum(0)],
    ['[MQTT5 §3.1.2.11.4] Maximum Packet Size 0', 0x82, PacketType.connect, property.maximumPacketSize(0)],
    ['[MQTT5 §3.1.2.11.10] Authentication Data alone', 0x82, PacketType.connect, property.authenticationData('x')],
    ['[MQTT5 §3.1.2.11.10] Authentication Data alone in AUTH', 0x82, PacketType.auth, property.authenticationData('x')],
    ['[MQTT5 3.3.2-14] Response Topic with +', 0x82, PacketType.publish, property.responseTopic('a/+')],
    ['[MQTT5 3.3.2-14] Response Topic with # in a will', 0x82, 'will', property.responseTopic('#')],
    ['[MQTT5 3.3.2-13] empty Response Topic', 0x82, PacketType.publish, property.responseTopic('')],
    ['[MQTT5 §1.2] property without its value', 0x81, PacketType.publish, bytes(2, 0, 0, 0)],
    ['[MQTT5 §1.2] string that runs past the block', 0x81, PacketType.publish, bytes(3, 0, 2, 0x61)],
    ['[MQTT5 §1.2] binary data that runs past the block', 0x81, PacketType.publish, bytes(9, 0, 2, 0x61)],
    ['[MQTT5 §1.2] User Property without value', 0x81, PacketType.publish, bytes(38, str('n'))],
  ];
  for (const [title, reason, place, block] of cases) {
    test(`${title} is refused with 0x${reason.toString(16)}`, () => {
      assert.throws(() => scan(place, block), refusal(reason));
    });
  }

  test('[MQTT5 §2.2.2.1] properties that overrun the packet are malformed', () => {
    assert.throws(() => check(bytes(2, 38), PacketType.subscribe), refusal(0x81));
    assert.throws(() => scanPublishProperties(bytes(1, 0), 0, 3), refusal(0x81));
    assert.throws(() => scanPublishProperties(bytes(1, 0), 2, 1), refusal(0x81));
  });

  test('[MQTT5 1.5.5-1] a property length longer than needed or of five bytes is malformed', () => {
    assert.throws(() => check(bytes(0x80, 0x00), PacketType.subscribe), refusal(0x81));
    assert.throws(() => check(bytes(128, 128, 128, 128, 0), PacketType.subscribe), refusal(0x81));
  });

  for (const bad of badStrings) {
    test(`${bad.id} ${bad.what} in a property is malformed`, () => {
      assert.throws(() => scanPublish(property.contentType(bad.bytes)), refusal(0x81));
      assert.throws(() => scanPublish(property.responseTopic(bad.bytes)), refusal(0x81));
      assert.throws(() => check(props(property.reasonString(bad.bytes)), PacketType.disconnect), refusal(0x81));
    });
    test(`[MQTT5 1.5.7-1] ${bad.what} in either half of a User Property is malformed`, () => {
      assert.throws(() => scanPublish(property.user(bad.bytes, 'v')), refusal(0x81));
      assert.throws(() => scanPublish(property.user('n', bad.bytes)), refusal(0x81));
    });
  }

  test('[MQTT5 §1.5.6] binary data may be any bytes', () => {
    const block = property.correlationData(bytes(0, 0xff, 0xc0));
    assert.deepEqual(scanPublish(block).forward, block);
  });

  test('[MQTT5 §3.1.2.11.10] Authentication Data with its method passes in either order', () => {
    const [method, data] = [property.authenticationMethod('m'), property.authenticationData('d')];
    assert.equal(check(props(method, data), PacketType.auth).hasAuthenticationMethod, true);
    assert.equal(check(props(data, method), PacketType.connect).hasAuthenticationMethod, true);
    assert.equal(check(props(), PacketType.connect).hasAuthenticationMethod, false);
  });
});

describe('properties: what is forwarded', () => {
  test('a PUBLISH without properties shares one empty block', () => {
    assert.deepEqual(scanPublish(bytes()), {
      topicAlias: 0,
      forward: noProperties,
      messageExpirySeconds: undefined,
      payloadFormatIsUtf8: false,
    });
    assert.equal(scanPublish(bytes()).forward, noProperties);
    assert.equal(scanPublish(property.topicAlias(9)).forward, noProperties);
    assert.equal(scanWill(property.willDelay(9)).forward, noProperties);
  });

  test('[MQTT5 3.3.2-4] [MQTT5 3.3.2-6] payload format and expiry are read and forwarded', () => {
    const block = bytes(property.payloadFormat(1), property.messageExpiry(0xfffffffe));
    const scanned = scanPublish(block);
    assert.equal(scanned.payloadFormatIsUtf8, true);
    assert.equal(scanned.messageExpirySeconds, 0xfffffffe);
    assert.deepEqual(scanned.forward, block);
    assert.equal(scanPublish(property.payloadFormat(0)).payloadFormatIsUtf8, false);
    assert.equal(scanPublish(property.messageExpiry(0)).messageExpirySeconds, 0);
  });

  test('a block without an alias is a view on the packet, bounds respected', () => {
    const block = property.user('n', 'v');
    const buffer = bytes(1, 2, block, 3);
    const { forward } = scanPublishProperties(buffer, 2, 2 + block.length);
    assert.equal(forward.buffer, buffer.buffer);
    assert.equal(forward.byteOffset, buffer.byteOffset + 2);
    assert.deepEqual(forward, block);
  });

  test('[MQTT5 §3.3.2.3.4] Topic Alias is cut out of a copy, wherever it stands', () => {
    const [before, after] = [property.user('a', 'b'), property.contentType('c')];
    for (const parts of [
      [before, after],
      [before, bytes()],
      [bytes(), after],
    ] as const) {
      const block = bytes(parts[0], property.topicAlias(0xabcd), parts[1]);
      const scanned = scanPublish(block);
      assert.equal(scanned.topicAlias, 0xabcd);
      assert.deepEqual(scanned.forward, bytes(...parts));
      block.fill(0);
      assert.deepEqual(scanned.forward, bytes(...parts));
    }
  });

  test('[MQTT5 3.1.3-10] Will Delay Interval is cut out, the rest of the will is an own copy in order', () => {
    const rest = [property.user('b', '1'), property.user('a', '2'), property.user('b', '3')] as const;
    const block = bytes(rest[0], property.willDelay(5), rest[1], rest[2]);
    const scanned = scanWill(block);
    assert.equal(scanned.delaySeconds, 5);
    block.fill(0);
    assert.deepEqual(scanned.forward, bytes(...rest));
    const plain = bytes(...rest);
    const copy = scanWill(plain);
    plain.fill(0);
    assert.deepEqual(copy, { delaySeconds: 0, forward: bytes(...rest) });
  });

  const text = fc.string({ unit: 'binary', maxLength: 12 }).map((value) => value.replaceAll('\0', '\ufeff'));
  const user = fc.tuple(text, text).map(([name, value]) => property.user(name, value));
  const once = fc
    .record({
      payloadFormat: fc.option(fc.constantFrom(0, 1).map(property.payloadFormat)),
      messageExpiry: fc.option(fc.nat(0xffffffff).map(property.messageExpiry)),
      contentType: fc.option(text.map(property.contentType)),
      responseTopic: fc.option(text.map((value) => property.responseTopic(`t${value.replaceAll(/[+#]/g, '/')}`))),
      correlationData: fc.option(fc.uint8Array().map((value) => property.correlationData(Buffer.from(value)))),
    })
    .map((record) => Object.values(record).filter((value) => value !== null));
  const list = fc
    .tuple(once, fc.array(user))
    .chain(([some, users]) => fc.shuffledSubarray([...some, ...users], { minLength: some.length + users.length }));

  test('[MQTT5 3.3.2-17] [MQTT5 3.3.2-18] any list of properties is forwarded byte for byte', () => {
    fc.assert(
      fc.property(list, fc.option(fc.integer({ min: 1, max: 0xffff })), fc.nat(), (parts, alias, at) => {
        const withAlias: Buffer[] = [...parts];
        if (alias !== null) withAlias.splice(at % (parts.length + 1), 0, property.topicAlias(alias));
        const scanned = scanPublish(bytes(...withAlias));
        assert.equal(scanned.topicAlias, alias ?? 0);
        assert.deepEqual(scanned.forward, bytes(...parts));
        assert.deepEqual(scanWill(bytes(...parts)).forward, bytes(...parts));
      }),
    );
  });

  test('arbitrary bytes throw nothing but MqttError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.constantFrom(...clientPlaces), (data, [, place]) => {
        try {
          scan(place, Buffer.from(data));
        } catch (error) {
          assert.ok(error instanceof MqttError, String(error));
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('variable byte integers', () => {
  const edges = [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455];
  test('[MQTT5 1.5.5-1] are written in the fewest bytes and read back', () => {
    const values = fc.oneof(fc.constantFrom(...edges), fc.nat(268_435_455));
    fc.assert(
      fc.property(values, (value) => {
        const buffer = Buffer.alloc(6);
        const end = writeVarint(buffer, 1, value);
        assert.equal(end, 1 + varintLength(value));
        assert.deepEqual(buffer.subarray(1, end), varint(value));
        const reader = new Reader(buffer, 1, end);
        assert.equal(reader.varint(), value);
        reader.expectEnd();
      }),
    );
  });

  for (const bad of [
    [0x80, 0x00],
    [0xff, 0x80, 0x00],
    [0x80, 0x80, 0x80, 0x80, 0x01],
    [0xff, 0xff, 0xff, 0xff],
    [0x80],
    [],
  ]) {
    test(`[MQTT5 1.5.5-1] ${JSON.stringify(bad)} is malformed`, () => {
      assert.throws(() => new Reader(bytes(bad), 0, bad.length).varint(), refusal(0x81));
    });
  }
});

describe('strings', () => {
  for (const bad of badStrings) {
    test(`${bad.id} ${bad.what} is malformed`, () => {
      const encoded = str(bad.bytes);
      assert.throws(() => new Reader(encoded, 0, encoded.length).string(), refusal(0x81));
    });
  }

  test('[MQTT5 1.5.4-3] [MQTT311 1.5.3-3] U+FEFF is kept anywhere', () => {
    const encoded = str('\ufeffa\ufeff');
    assert.equal(new Reader(encoded, 0, encoded.length).string(), '\ufeffa\ufeff');
  });

  test('[MQTT5 §1.5.4] control characters and non-characters are accepted', () => {
    const value = '\u0001\u001f\u007f\u009f\ufffe\uffff\u{1ffff}';
    const encoded = str(value);
    assert.equal(new Reader(encoded, 0, encoded.length).string(), value);
  });

  test('[MQTT5 §1.2] a string that runs past the end of its reader is malformed although the buffer goes on', () => {
    assert.throws(() => new Reader(bytes(0, 2, 0x61, 0x61), 0, 3).string(), refusal(0x81));
    assert.throws(() => new Reader(bytes(0, 2), 0, 1).uint16(), refusal(0x81));
  });
});
