/**
 * Topic aliases that we set on our way to one client, which has asked for them. connection/sender.ts hands in PUBLISH packets that are
 * going out in this order and no other: they were encoded for many clients, and what comes back is this client's own copy. A topic's
 * first message sets an alias, the next ones carry it in the topic's place. Mappings live and die with the connection. [MQTT5 3.3.2-7]
 */
import { varintLength, writeVarint } from './properties.ts';

const nothing = Buffer.alloc(0);
/** Bits of the fixed header. */
const QOS = 0x06;
const TOPIC_ALIAS = 0x23;
/** Identifier and value of the property. */
const ALIAS_BYTES = 3;
/** What an alias adds at most: the property, and a byte each for the length of the properties and of the packet. */
const LARGEST_GROWTH = ALIAS_BYTES + 2;
/** In place of a topic of so many bytes, an alias saves at least one. */
const SHORTEST_TOPIC = ALIAS_BYTES + 2;
/** Larger packets go out as they are, in memory that all subscribers share: a copy for each would cost more than a topic saves. */
const LARGEST_COPY = 4 * 1024;
/** Fixed header and the largest Remaining Length. */
const LARGEST_PACKET = 268_435_455 + 5;

export class OutboundAliases {
  readonly #maximum: number;
  readonly #largestPacket: number;
  /** Topic, a character per byte → alias; the least recently used first. */
  readonly #aliases = new Map<string, number>();
  #lastAlias = 0;
  // The packet that is looked at: offsets in #packets.
  #packets: Buffer = nothing;
  #start = 0;
  #bodyStart = 0;
  #topicEnd = 0;
  /** Where the length of the properties is; for QoS 1 and 2 the packet id is before it. */
  #lengthAt = 0;
  #propertiesStart = 0;
  #propertyLength = 0;
  #end = 0;
  // What becomes of it.
  #alias = 0;
  #isSet = false;
  #remainingLength = 0;

  /** `maximum`: aliases, 1 to what the client takes. `maximumPacketSize`: of the client, in bytes. [MQTT5 3.1.2-26] [MQTT5 3.3.2-11] */
  constructor(maximum: number, maximumPacketSize: number) {
    this.#maximum = maximum;
    this.#largestPacket = Math.min(maximumPacketSize, LARGEST_PACKET);
  }

  /** Rewrites `count` PUBLISH packets of MQTT 5 that lie back to back; the same buffer when there is nothing to gain. */
  rewrite(packets: Buffer, count: number): Buffer {
    if (count === 1 && packets.length > LARGEST_COPY) return packets;
    const target = Buffer.allocUnsafe(packets.length + count * LARGEST_GROWTH);
    let written = 0;
    let isRewritten = false;
    this.#packets = packets;
    for (this.#end = 0; this.#end < packets.length; ) {
      this.#read(this.#end);
      if (this.#choose()) {
        written = this.#write(target, written);
        isRewritten = true;
      } else {
        written += packets.copy(target, written, this.#start, this.#end);
      }
    }
    this.#packets = nothing;
    return isRewritten ? target.subarray(0, written) : packets;
  }

  /** Lengths are ours and therefore sound. */
  #read(start: number): void {
    const packets = this.#packets;
    this.#start = start;
    const length = varintAt(packets, start + 1);
    this.#bodyStart = start + 1 + varintLength(length);
    this.#end = this.#bodyStart + length;
    this.#topicEnd = this.#bodyStart + 2 + (packets[this.#bodyStart] ?? 0) * 256 + (packets[this.#bodyStart + 1] ?? 0);
    this.#lengthAt = ((packets[start] ?? 0) & QOS) === 0 ? this.#topicEnd : this.#topicEnd + 2;
    this.#propertyLength = varintAt(packets, this.#lengthAt);
    this.#propertiesStart = this.#lengthAt + varintLength(this.#propertyLength);
  }

  /** Finds an alias for the packet's topic or sets one; false when the packet goes out as it is. */
  #choose(): boolean {
    const topicStart = this.#bodyStart + 2;
    if (this.#topicEnd - topicStart < SHORTEST_TOPIC) return false;
    const topic = this.#packets.toString('latin1', topicStart, this.#topicEnd);
    const known = this.#aliases.get(topic);
    this.#isSet = known === undefined;
    this.#remainingLength = this.#measure(this.#isSet ? topic.length : 0);
    // What has come here fits without; in place of its topic an alias makes it smaller. [MQTT5 3.1.2-24]
    const size = 1 + varintLength(this.#remainingLength) + this.#remainingLength;
    if (this.#isSet && size > this.#largestPacket) return false;
    this.#alias = known ?? this.#freeAlias();
    if (this.#alias === this.#lastAlias && !this.#isSet) return true;
    this.#lastAlias = this.#alias;
    // The most recently used one is the last.
    if (!this.#isSet) this.#aliases.delete(topic);
    this.#aliases.set(topic, this.#alias);
    return true;
  }

  #measure(topicLength: number): number {
    const packetIdLength = this.#lengthAt - this.#topicEnd;
    const propertyLength = this.#propertyLength + ALIAS_BYTES;
    const payloadLength = this.#end - this.#propertiesStart - this.#propertyLength;
    return 2 + topicLength + packetIdLength + varintLength(propertyLength) + propertyLength + payloadLength;
  }

  /** An alias that names no topic, or none any more. */
  #freeAlias(): number {
    const { size } = this.#aliases;
    if (size < this.#maximum) return size + 1;
    for (const [topic, alias] of this.#aliases) {
      this.#aliases.delete(topic);
      return alias;
    }
    return 1; // not reached: the maximum is at least 1
  }

  #write(target: Buffer, offset: number): number {
    const packets = this.#packets;
    target[offset] = packets[this.#start] ?? 0;
    let position = writeVarint(target, offset + 1, this.#remainingLength);
    if (this.#isSet) {
      position += packets.copy(target, position, this.#bodyStart, this.#lengthAt);
    } else {
      target[position++] = 0;
      target[position++] = 0;
      for (let i = this.#topicEnd; i < this.#lengthAt; i++) target[position++] = packets[i] ?? 0;
    }
    position = writeVarint(target, position, this.#propertyLength + ALIAS_BYTES);
    target[position++] = TOPIC_ALIAS;
    target[position++] = this.#alias >> 8;
    target[position++] = this.#alias & 255;
    return position + packets.copy(target, position, this.#propertiesStart, this.#end);
  }
}

/** A variable byte integer of ours. */
function varintAt(buffer: Buffer, position: number): number {
  let value = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = buffer[position++] ?? 0;
    value |= (byte & 127) << shift;
    if (byte < 128) break;
  }
  return value;
}
