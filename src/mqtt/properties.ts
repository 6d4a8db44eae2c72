/**
 * The properties of MQTT 5: what they are, where they may stand, and a scan that checks a whole block. Properties that
 * a subscriber gets unaltered are never taken apart: they travel as the encoded block, in order, duplicates included.
 * Called by validate.ts, publish.ts and those who need the length of a variable byte integer.
 */

import { PacketType } from './packet.ts';
import { PropertyScan } from './property-scan.ts';
import type { PropertyPlace } from './property-table.ts';
import { Reader } from './reader.ts';
import { malformed, protocolError } from './reason.ts';

/** Stands for a block without properties; compare with `length`, do not write to it. */
export const noProperties: Buffer = Buffer.alloc(0);

/** What a server must know of the properties of a PUBLISH. */
export interface PublishProperties {
  /** 0 = none. */
  readonly topicAlias: number;
  /** Properties for the subscribers, encoded: the block as it came, without Topic Alias. A view unless an alias was cut. */
  readonly forward: Buffer;
  readonly messageExpirySeconds: number | undefined;
  readonly payloadFormatIsUtf8: boolean;
}

/** What a server must know of the properties of a will. */
export interface WillProperties {
  readonly delaySeconds: number;
  /** Properties of the will message, encoded: the block as it came, without Will Delay Interval. Own copy. */
  readonly forward: Buffer;
}

/** A PUBLISH without properties. */
export const noPublishProperties: PublishProperties = {
  topicAlias: 0,
  forward: noProperties,
  messageExpirySeconds: undefined,
  payloadFormatIsUtf8: false,
};

/** Checks the properties of a client's PUBLISH between `start` and `end`, without the length in front of them. */
export function scanPublishProperties(buffer: Buffer, start: number, end: number): PublishProperties {
  if (start === end) return noPublishProperties;
  const scan = new PropertyScan(blockReader(buffer, start, end), PacketType.publish);
  let topicAlias = 0;
  let aliasStart = 0;
  let messageExpirySeconds: number | undefined;
  let payloadFormatIsUtf8 = false;
  while (scan.next()) {
    switch (scan.name) {
      case 'topicAlias':
        topicAlias = scan.value;
        aliasStart = scan.start;
        break;
      case 'messageExpiryInterval':
        messageExpirySeconds = scan.value;
        break;
      case 'payloadFormatIndicator':
        payloadFormatIsUtf8 = scan.value === 1;
        break;
      default: // travels in `forward` only
    }
  }
  const forward =
    topicAlias === 0 ? buffer.subarray(start, end) : cut(buffer, start, end, aliasStart, encodedAliasLength);
  return { topicAlias, forward, messageExpirySeconds, payloadFormatIsUtf8 };
}

/**
 * A copy of a checked block of PUBLISH properties in which the Message Expiry Interval is `waitedSeconds` less, at least 1; the block
 * itself when it has none. [MQTT5 3.3.2-6]
 */
export function withRemainingExpiry(block: Buffer, waitedSeconds: number): Buffer {
  const scan = new PropertyScan(blockReader(block, 0, block.length), PacketType.publish);
  while (scan.next()) {
    if (scan.name !== 'messageExpiryInterval') continue;
    const aged = Buffer.from(block);
    aged.writeUInt32BE(Math.max(1, scan.value - waitedSeconds), scan.start + 1);
    return aged;
  }
  return block;
}

/** Checks the properties of a will between `start` and `end`, without the length in front of them. */
export function scanWillProperties(buffer: Buffer, start: number, end: number): WillProperties {
  const scan = new PropertyScan(blockReader(buffer, start, end), 'will');
  let delaySeconds = 0;
  let delayStart = end;
  while (scan.next()) {
    if (scan.name !== 'willDelayInterval') continue;
    delaySeconds = scan.value;
    delayStart = scan.start;
  }
  return { delaySeconds, forward: cut(buffer, start, end, delayStart, delayStart === end ? 0 : encodedDelayLength) };
}

/**
 * Checks the properties of any other packet a client sends, from their length on, and leaves the reader behind them.
 * Returns whether an Authentication Method is among them.
 */
export function checkProperties(reader: Reader, place: PropertyPlace): { readonly hasAuthenticationMethod: boolean } {
  const scan = new PropertyScan(reader.section(reader.varint()), place);
  let hasAuthenticationMethod = false;
  let hasAuthenticationData = false;
  while (scan.next()) {
    if (scan.name === 'authenticationMethod') hasAuthenticationMethod = true;
    if (scan.name === 'authenticationData') hasAuthenticationData = true;
  }
  checkAuthentication(hasAuthenticationData, hasAuthenticationMethod);
  return { hasAuthenticationMethod };
}

/** [MQTT5 §3.1.2.11.10] */
export function checkAuthentication(hasData: boolean, hasMethod: boolean): void {
  if (hasData && !hasMethod) throw protocolError('Authentication Data without a method');
}

/** Bytes that `value` takes as a variable byte integer. */
export function varintLength(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  return value < 0x200000 ? 3 : 4;
}

/** Writes `value`, at most 268,435,455, in the fewest bytes and returns the offset behind it. [MQTT5 1.5.5-1] */
export function writeVarint(buffer: Buffer, offset: number, value: number): number {
  while (value >= 0x80) {
    buffer[offset++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  buffer[offset++] = value;
  return offset;
}

const encodedAliasLength = 3;
const encodedDelayLength = 5;

function blockReader(buffer: Buffer, start: number, end: number): Reader {
  if (end > buffer.length || start > end) throw malformed('properties run past the end of the packet');
  return new Reader(buffer, start, end);
}

/** Copy of start..end without the `length` bytes at `from`. */
function cut(buffer: Buffer, start: number, end: number, from: number, length: number): Buffer {
  if (end - start === length) return noProperties;
  const rest = Buffer.allocUnsafe(end - start - length);
  buffer.copy(rest, 0, start, from);
  buffer.copy(rest, from - start, from + length, end);
  return rest;
}
