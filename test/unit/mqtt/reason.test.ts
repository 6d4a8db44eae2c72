/** Reason codes: what may be sent in which packet, whatever the cause. The lists are typed anew from the standard, apart from src. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeAcknowledgement } from '../../../src/mqtt/acknowledgement.ts';
import {
  encodeConnackRefusal,
  encodeDisconnect,
  encodeSuback,
  encodeUnsuback,
  encodeUnsupportedVersion,
} from '../../../src/mqtt/codec.ts';
import { PacketType } from '../../../src/mqtt/packet.ts';
import { connackReturnCode, listedReason, Reason, type ReasonCode } from '../../../src/mqtt/reason.ts';

const reasons: readonly ReasonCode[] = Object.values(Reason);

/** The last byte of a packet without properties, or the byte at `offset`. */
function byteAt(packet: Buffer | undefined, offset: number): number | undefined {
  return packet?.at(offset);
}

interface Case {
  readonly title: string;
  readonly codes: readonly number[];
  /** The code in the packet that says `reason`; undefined = success in its short form. */
  readonly sent: (reason: ReasonCode) => number | undefined;
}

const publishCodes = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const cases: readonly Case[] = [
  {
    title: '[MQTT5 3.2.2-8] CONNACK',
    codes: [
      0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c,
      0x9d, 0x9f, 0x00,
    ],
    sent: (reason) => byteAt(encodeConnackRefusal(5, reason), 3),
  },
  {
    title: '[MQTT5 3.4.2-1] PUBACK',
    codes: publishCodes,
    sent: (reason) => byteAt(encodeAcknowledgement(PacketType.puback, 1, 5, reason), 4),
  },
  {
    title: '[MQTT5 3.5.2-1] PUBREC',
    codes: publishCodes,
    sent: (reason) => byteAt(encodeAcknowledgement(PacketType.pubrec, 1, 5, reason), 4),
  },
  {
    title: '[MQTT5 3.9.3-2] SUBACK',
    codes: [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
    sent: (reason) => byteAt(encodeSuback(5, 1, [reason]), -1),
  },
  {
    title: '[MQTT5 3.11.3-2] UNSUBACK',
    codes: [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
    sent: (reason) => byteAt(encodeUnsuback(5, 1, [reason]), -1),
  },
  {
    title: '[MQTT5 3.14.2-1] DISCONNECT',
    codes: [
      0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
      0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
    ],
    sent: (reason) => byteAt(encodeDisconnect(reason), 2),
  },
];

for (const { codes, sent, title } of cases) {
  test(`${title} carries listed reason codes only, and each of them as it is`, () => {
    for (const reason of reasons) {
      const code = sent(reason) ?? Reason.success;
      assert.ok(codes.includes(code), `0x${reason.toString(16)} became 0x${code.toString(16)}`);
      if (codes.includes(reason)) assert.equal(code, reason);
      else if (reason >= 0x80) assert.ok(code >= 0x80, 'a failure stays one');
    }
  });
}

for (const [title, type, codes] of [
  ['[MQTT5 3.6.2-1] PUBREL', PacketType.pubrel, [0x00, 0x92]],
  ['[MQTT5 3.7.2-1] PUBCOMP', PacketType.pubcomp, [0x00, 0x92]],
  ['[MQTT5 3.15.2-1] AUTH', PacketType.auth, [0x00, 0x18]],
] as const) {
  test(`${title} has no word for other failures: none is sent`, () => {
    for (const reason of reasons) {
      if ((codes as readonly number[]).includes(reason)) assert.equal(listedReason(type, reason), reason);
      else assert.throws(() => listedReason(type, reason), /cannot say/);
    }
  });
}

test('[MQTT5 §2.4] every reason code that a server may send has a name', () => {
  const named = new Set<number>(reasons);
  const missing = cases.flatMap(({ codes }) => codes).filter((code) => !named.has(code));
  assert.deepEqual(missing, []);
});

test('[MQTT5 3.14.2-1] what DISCONNECT and CONNACK cannot say is said by the next of kin', () => {
  const disconnect = (reason: ReasonCode): number | undefined => byteAt(encodeDisconnect(reason), 2);
  assert.equal(disconnect(Reason.badUserNameOrPassword), Reason.notAuthorized);
  assert.equal(disconnect(Reason.serverUnavailable), Reason.serverBusy);
  assert.equal(disconnect(Reason.packetIdentifierInUse), Reason.protocolError);
  assert.equal(byteAt(encodeConnackRefusal(5, Reason.serverShuttingDown), 3), Reason.serverUnavailable);
  assert.equal(byteAt(encodeConnackRefusal(5, Reason.keepAliveTimeout), 3), Reason.unspecifiedError);
});

test('[MQTT311 3.2.2-6] a CONNACK of MQTT 3.x has one of the five return codes, or there is none', () => {
  for (const reason of reasons.filter((code) => code >= 0x80)) {
    const code = connackReturnCode(reason);
    assert.ok(code === undefined || (code >= 1 && code <= 5), String(code));
    for (const version of [3, 4] as const) {
      const expected = code === undefined ? undefined : Buffer.from([0x20, 2, 0, code]);
      assert.deepEqual(encodeConnackRefusal(version, reason), expected);
    }
  }
  assert.deepEqual(encodeUnsupportedVersion(2), Buffer.from([0x20, 2, 0, 1]));
});

test('[MQTT311 3.9.3-2] a SUBACK of MQTT 3.x has granted QoS and 0x80 only', () => {
  for (const version of [3, 4] as const) {
    const packet = encodeSuback(version, 7, [0, 1, 2, ...reasons.filter((code) => code >= 0x80)]);
    assert.deepEqual([...packet.subarray(0, 7)], [0x90, packet.length - 2, 0, 7, 0, 1, 2]);
    assert.ok([...packet.subarray(7)].every((code) => code === 0x80));
  }
});

test('[MQTT5 §4.11] the server reference is kept when the reason string does not fit, and left out when it does not fit itself', () => {
  const reference = 'a.example:1883 [::1]';
  const sizes = (encode: (maximum?: number) => Buffer | undefined): void => {
    const has = (maximum: number): [boolean, boolean] => {
      const packet = encode(maximum)?.toString('latin1') ?? '';
      return [packet.includes(reference), packet.includes('because')];
    };
    const full = encode()?.length ?? 0;
    assert.deepEqual(has(full), [true, true]);
    assert.deepEqual(has(full - 1), [true, false]);
    assert.deepEqual(has(full - 10), [true, false], 'just the reference');
    assert.deepEqual(has(full - 11), [false, true], 'the reason string is shorter');
    assert.deepEqual(has(5), [false, false]);
    assert.ok((encode(5)?.length ?? 0) <= 5);
  };
  sizes((maximum) => encodeDisconnect(Reason.useAnotherServer, 'because', maximum, reference));
  sizes((maximum) => encodeConnackRefusal(5, Reason.serverMoved, 'because', maximum, reference));
});
