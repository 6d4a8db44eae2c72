/**
 * Builds packets byte by byte, rightly or wrongly, for the tests of this folder. Kept apart from src so that a
 * mistake there is not repeated here.
 */

import { MqttError } from '../../../src/mqtt/reason.ts';

/** One part of a packet: one byte, several bytes, or bytes that stand for themselves. */
export type Part = number | readonly number[] | Buffer;

export function bytes(...parts: readonly Part[]): Buffer {
  return Buffer.concat(parts.map((part) => Buffer.from(typeof part === 'number' ? [part] : part)));
}

export function u16(value: number): Buffer {
  return bytes(value >> 8, value & 0xff);
}

export function u32(value: number): Buffer {
  return bytes(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}

export function varint(value: number): Buffer {
  const digits: number[] = [];
  do {
    digits.push((value % 128) + (value >= 128 ? 128 : 0));
    value = Math.floor(value / 128);
  } while (value > 0);
  return bytes(digits);
}

/** A string or binary data with its length in front. */
export function str(value: string | Buffer): Buffer {
  const content = Buffer.from(value);
  return bytes(u16(content.length), content);
}

/** A block of properties with its length in front. */
export function props(...parts: readonly Part[]): Buffer {
  const block = bytes(...parts);
  return bytes(varint(block.length), block);
}

/** A packet: first byte, Remaining Length, body. */
export function packet(header: number, ...body: readonly Part[]): Buffer {
  const content = bytes(...body);
  return bytes(header, varint(content.length), content);
}

/** Where the body of a well-framed packet starts. */
export function bodyOffset(frame: Buffer): number {
  let offset = 1;
  while ((frame[offset] ?? 0) >= 128) offset++;
  return offset + 1;
}

/** For assert.throws: an MqttError with this reason code. */
export function refusal(reason: number): (error: unknown) => boolean {
  return (error) => {
    if (!(error instanceof MqttError)) throw error;
    if (error.reason !== reason)
      throw new Error(`reason ${hex(error.reason)} instead of ${hex(reason)}: ${error.message}`);
    return true;
  };
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** What section 1.5.4 forbids in a string. */
export const badStrings: readonly { readonly id: string; readonly what: string; readonly bytes: Buffer }[] = [
  { id: '[MQTT5 1.5.4-1] [MQTT311 1.5.3-1]', what: 'a surrogate', bytes: bytes(0x61, 0xed, 0xa0, 0x80) },
  { id: '[MQTT5 1.5.4-1] [MQTT311 1.5.3-1]', what: 'a lone continuation byte', bytes: bytes(0x80) },
  { id: '[MQTT5 1.5.4-1] [MQTT311 1.5.3-1]', what: 'an overlong encoding', bytes: bytes(0xc0, 0xaf) },
  { id: '[MQTT5 1.5.4-1] [MQTT311 1.5.3-1]', what: 'a truncated sequence', bytes: bytes(0x61, 0xe2, 0x82) },
  {
    id: '[MQTT5 1.5.4-1] [MQTT311 1.5.3-1]',
    what: 'a code point above U+10FFFF',
    bytes: bytes(0xf4, 0x90, 0x80, 0x80),
  },
  { id: '[MQTT5 1.5.4-2] [MQTT311 1.5.3-2]', what: 'U+0000', bytes: bytes(0x61, 0x00, 0x62) },
  { id: '[MQTT5 1.5.4-2] [MQTT311 1.5.3-2]', what: 'U+0000 beside other letters', bytes: bytes(0xc3, 0xa4, 0x00) },
];

export const property = {
  payloadFormat: (value: number) => bytes(1, value),
  messageExpiry: (seconds: number) => bytes(2, u32(seconds)),
  contentType: (value: string | Buffer) => bytes(3, str(value)),
  responseTopic: (value: string | Buffer) => bytes(8, str(value)),
  correlationData: (value: string | Buffer) => bytes(9, str(value)),
  subscriptionIdentifier: (value: number) => bytes(11, varint(value)),
  sessionExpiry: (seconds: number) => bytes(17, u32(seconds)),
  authenticationMethod: (value: string | Buffer) => bytes(21, str(value)),
  authenticationData: (value: string | Buffer) => bytes(22, str(value)),
  requestProblemInformation: (value: number) => bytes(23, value),
  willDelay: (seconds: number) => bytes(24, u32(seconds)),
  requestResponseInformation: (value: number) => bytes(25, value),
  serverReference: (value: string) => bytes(28, str(value)),
  reasonString: (value: string | Buffer) => bytes(31, str(value)),
  receiveMaximum: (value: number) => bytes(33, u16(value)),
  topicAliasMaximum: (value: number) => bytes(34, u16(value)),
  topicAlias: (value: number) => bytes(35, u16(value)),
  user: (name: string | Buffer, value: string | Buffer) => bytes(38, str(name), str(value)),
  maximumPacketSize: (value: number) => bytes(39, u32(value)),
} as const;

/** A CONNECT of MQTT 5 with every field. */
export const fullConnect = packet(
  0x10,
  str('MQTT'),
  5,
  0b1110_1110,
  u16(30),
  props(
    property.sessionExpiry(100),
    property.receiveMaximum(20),
    property.maximumPacketSize(1000),
    property.topicAliasMaximum(5),
    property.requestResponseInformation(1),
    property.requestProblemInformation(0),
    property.authenticationMethod('method'),
    property.authenticationData(bytes(0, 1)),
    property.user('a', 'b'),
  ),
  str('client'),
  props(property.user('b', '1'), property.willDelay(7), property.user('10', 'x'), property.user('b', '2')),
  str('will/topic'),
  str(bytes(0, 0xff)),
  str('user'),
  str(bytes(1, 0)),
);
