/** mqtt/acknowledgement.ts: PUBACK, PUBREC, PUBREL and PUBCOMP as bytes, both ways. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import mqttPacket, { type Packet } from 'mqtt-packet';
import {
  type AcknowledgementType,
  encodeAcknowledgement,
  readAcknowledgement,
} from '../../../src/mqtt/acknowledgement.ts';
import { Framer } from '../../../src/mqtt/framing.ts';
import type { ProtocolVersion } from '../../../src/mqtt/packet.ts';
import { MqttError } from '../../../src/mqtt/reason.ts';

const types = [
  [4, 'puback', [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]],
  [5, 'pubrec', [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]],
  [6, 'pubrel', [0, 0x92]],
  [7, 'pubcomp', [0, 0x92]],
] as const;

function read(bytes: Buffer, version: ProtocolVersion): { packetId: number; reason: number } {
  const framer = new Framer(1_000);
  // Bytes of the next packet behind it must not be taken for its own.
  framer.append(Buffer.concat([bytes, Buffer.from([0xc0, 0, 0xff, 0xff])]));
  assert.ok(framer.next());
  const into = { packetId: -1, reason: -1 };
  readAcknowledgement(framer, version, into);
  return into;
}

function failure(bytes: readonly number[], version: ProtocolVersion): number {
  try {
    read(Buffer.from(bytes), version);
  } catch (error) {
    assert.ok(error instanceof MqttError);
    return error.reason;
  }
  return assert.fail(`taken: ${bytes}`);
}

test('acknowledgement - what is written is read back, by mqtt-packet too, in every version', () => {
  for (const [type, cmd, codes] of types) {
    for (const version of [3, 4, 5] as const) {
      for (const code of codes) {
        for (const packetId of [1, 255, 256, 65_535]) {
          const bytes = encodeAcknowledgement(type, packetId, version, code);
          const reason = version === 5 ? code : 0;
          assert.deepEqual(read(bytes, version), { packetId, reason });
          const seen: Packet[] = [];
          const parser = mqttPacket.parser({ protocolVersion: version });
          parser.on('packet', (packet) => seen.push(packet));
          parser.parse(bytes);
          const [packet] = seen;
          assert.deepEqual([packet?.cmd, packet?.messageId], [cmd, packetId]);
          if (version === 5) assert.equal(packet !== undefined && 'reasonCode' in packet && packet.reasonCode, reason);
        }
      }
    }
  }
});

test('acknowledgement - success needs two bytes, another code three; MQTT 3.x always two', () => {
  assert.deepEqual([...encodeAcknowledgement(4, 0x0102, 5)], [0x40, 2, 1, 2]);
  assert.deepEqual([...encodeAcknowledgement(6, 0x0102, 5)], [0x62, 2, 1, 2]);
  assert.deepEqual([...encodeAcknowledgement(7, 0x0102, 5, 0x92)], [0x70, 3, 1, 2, 0x92]);
  assert.deepEqual([...encodeAcknowledgement(7, 0x0102, 4, 0x92)], [0x70, 2, 1, 2]);
});

test('acknowledgement - properties are taken and passed over', () => {
  const withProperties = [0x50, 17, 0, 1, 0x10, 13, 0x1f, 0, 3, 0x62, 0x61, 0x64, 0x26, 0, 1, 0x61, 0, 1, 0x62];
  assert.deepEqual(read(Buffer.from(withProperties), 5), { packetId: 1, reason: 0x10 });
  assert.deepEqual(read(Buffer.from([0x62, 4, 0, 1, 0x92, 0]), 5), { packetId: 1, reason: 0x92 });
});

test('acknowledgement - codes that exist, but not in this packet, are protocol errors', () => {
  for (const [type, , codes] of types) {
    const known: readonly number[] = codes;
    for (let code = 0; code < 256; code++) {
      const bytes = [(type << 4) | (type === 6 ? 2 : 0), 3, 0, 1, code];
      if (known.includes(code)) assert.equal(read(Buffer.from(bytes), 5).reason, code);
      else assert.equal(failure(bytes, 5), 0x82, `${type} ${code}`);
    }
  }
});

test('acknowledgement - flags, lengths, packet id 0 and properties that are none', () => {
  for (const [type] of types) {
    for (let flags = 0; flags < 16; flags++) {
      if (flags === (type === 6 ? 2 : 0)) continue;
      for (const version of [4, 5] as const) assert.equal(failure([(type << 4) | flags, 2, 0, 1], version), 0x81);
    }
    const first = (type << 4) | (type === 6 ? 2 : 0);
    for (const version of [3, 4, 5] as const) {
      assert.equal(failure([first, 0], version), 0x81);
      assert.equal(failure([first, 1, 1], version), 0x81);
      assert.equal(failure([first, 2, 0, 0], version), 0x82);
    }
    assert.equal(failure([first, 3, 0, 1, 0], 4), 0x81);
    assert.equal(failure([first, 5, 0, 1, 0, 2, 0], 5), 0x81, 'properties run past the packet');
    assert.equal(failure([first, 5, 0, 1, 0, 0, 0], 5), 0x81, 'bytes behind the properties');
    assert.equal(failure([first, 9, 0, 1, 0, 5, 0x11, 0, 0, 0, 1], 5), 0x81, 'Session Expiry');
    assert.equal(failure([first, 12, 0, 1, 0, 8, 0x1f, 0, 1, 0x61, 0x1f, 0, 1, 0x61], 5), 0x82, 'two Reason Strings');
  }
});

test('acknowledgement - no bytes at all make it throw anything but MqttError', () => {
  fc.assert(
    fc.property(
      fc.constantFrom<AcknowledgementType>(4, 5, 6, 7),
      fc.integer({ min: 0, max: 15 }),
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom<ProtocolVersion>(3, 4, 5),
      (type, flags, body, version) => {
        try {
          const { packetId } = read(Buffer.from([(type << 4) | flags, body.length, ...body]), version);
          assert.ok(packetId > 0 && packetId < 65_536);
        } catch (error) {
          assert.ok(error instanceof MqttError, String(error));
        }
      },
    ),
  );
});
