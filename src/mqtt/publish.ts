/**
 * PUBLISH to a client as bytes. A delivery is encoded once per variant (what subscribers must have in common for
 * their bytes to be equal), straight into the buffer that goes to the sockets.
 */
import type { Extras, Topic } from '../message.ts';
import { varintLength, writeVarint } from './properties.ts';

const SUBSCRIPTION_IDENTIFIER = 0x0b;
const nothing = Buffer.alloc(0);

/** What the PUBLISH packets of equal subscribers share. */
export interface PublishVariant {
  /** MQTT 5: the packet has properties. */
  readonly hasProperties: boolean;
  /** Subscription Identifier properties, encoded; see {@link encodeSubscriptionIdentifiers}. */
  readonly identifiers: Buffer;
  readonly retainAsPublished: boolean;
}

/** Subscription Identifier properties for all `ids` (1 to 268,435,455 each; 0 = none and is left out). [MQTT5 3.3.4-3] */
export function encodeSubscriptionIdentifiers(ids: readonly number[]): Buffer {
  const present = ids.filter((id) => id !== 0);
  if (present.length === 0) return nothing;
  const bytes = Buffer.alloc(present.reduce((sum, id) => sum + 1 + varintLength(id), 0));
  let offset = 0;
  for (const id of present) {
    bytes[offset] = SUBSCRIPTION_IDENTIFIER;
    offset = writeVarint(bytes, offset + 1, id);
  }
  return bytes;
}

/** How one client gets a message of QoS 1 or 2. */
export interface AcknowledgedDelivery {
  readonly qos: 1 | 2;
  readonly packetId: number;
  /** Sent before, on an earlier connection. [MQTT5 3.3.1-1] [MQTT311 3.3.1-1] */
  readonly isDuplicate: boolean;
}

/** Encodes PUBLISH packets: {@link begin} measures one, {@link write} puts it where the caller wants it. */
export class PublishEncoder {
  #header = 0;
  /** 0: a packet without (QoS 0). [MQTT5 2.2.1-2] [MQTT311 2.3.1-5] */
  #packetId = 0;
  #topic: Buffer = nothing;
  #payload: Uint8Array = nothing;
  #identifiers: Buffer = nothing;
  #forward: Buffer = nothing;
  /** -1: a packet without properties (MQTT 3.x). */
  #propertyLength = -1;
  #remainingLength = 0;

  /** Takes the parts of the next packet, which has QoS 0, and returns its length in bytes. */
  begin(variant: PublishVariant, topic: Topic, payload: Uint8Array, extras: Extras | undefined): number {
    // DUP 0 and QoS 0 [MQTT5 3.3.1-2]; RETAIN only as published where asked for [MQTT5 3.3.1-12] [MQTT5 3.3.1-13]
    this.#header = extras?.retain === true && variant.retainAsPublished ? 0x31 : 0x30;
    this.#packetId = 0;
    return this.#measure(variant, topic, payload, extras);
  }

  /** Encodes one packet of QoS 1 or 2 into a buffer of its own. */
  encodeAcknowledged(
    delivery: AcknowledgedDelivery,
    variant: PublishVariant,
    message: { readonly topic: Topic; readonly payload: Uint8Array; readonly extras: Extras | undefined },
  ): Buffer {
    const { extras, payload, topic } = message;
    const retain = extras?.retain === true && variant.retainAsPublished ? 1 : 0;
    this.#header = 0x30 | (delivery.isDuplicate ? 8 : 0) | (delivery.qos << 1) | retain;
    this.#packetId = delivery.packetId;
    const packet = Buffer.allocUnsafe(this.#measure(variant, topic, payload, extras));
    this.write(packet, 0);
    return packet;
  }

  #measure(variant: PublishVariant, topic: Topic, payload: Uint8Array, extras: Extras | undefined): number {
    this.#topic = topic.encoded;
    this.#payload = payload;
    let remaining = topic.encoded.length + payload.length + (this.#packetId === 0 ? 0 : 2);
    if (variant.hasProperties) {
      this.#identifiers = variant.identifiers;
      this.#forward = extras === undefined ? nothing : extras.properties;
      this.#propertyLength = this.#identifiers.length + this.#forward.length;
      remaining += this.#propertyLength + varintLength(this.#propertyLength);
    } else {
      this.#propertyLength = -1;
    }
    this.#remainingLength = remaining;
    return 1 + varintLength(remaining) + remaining;
  }

  /** Writes the packet measured last at `offset`. */
  write(target: Buffer, offset: number): void {
    target[offset] = this.#header;
    let position = writeVarint(target, offset + 1, this.#remainingLength);
    target.set(this.#topic, position);
    position += this.#topic.length;
    if (this.#packetId !== 0) position = target.writeUInt16BE(this.#packetId, position);
    if (this.#propertyLength === 0) {
      target[position++] = 0;
    } else if (this.#propertyLength > 0) {
      position = writeVarint(target, position, this.#propertyLength);
      target.set(this.#forward, position);
      position += this.#forward.length;
      target.set(this.#identifiers, position);
      position += this.#identifiers.length;
    }
    target.set(this.#payload, position);
  }
}
