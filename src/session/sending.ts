/**
 * Messages → PUBLISH packets of one client: encoded for it, aged, left out when they have expired or are too large, and QoS 2 only after the
 * pair of packet id and position is safe. Used for live messages, retained copies and what an earlier connection left open.
 */
import type { LogRecord, MessageLog } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import { withRemainingExpiry } from '../mqtt/properties.ts';
import { PublishEncoder } from '../mqtt/publish.ts';
import type { Gate } from './gate.ts';
import type { Delivery, Outbound } from './outbound.ts';
import type { Outlet } from './outlet.ts';
import type { Grant } from './subscription.ts';

/** A message of the log or a retained one. */
export type Sendable = Pick<LogRecord, 'topic' | 'payload' | 'extras' | 'expirySeconds' | 'storedAt'>;

export interface SendingOptions {
  readonly outlet: Outlet;
  readonly outbound: Outbound;
  readonly counters: Counters;
  readonly log: MessageLog;
  /** Calls `done` when the session's state is safe; at once for a session that ends with its connection. */
  readonly save: (done: () => void) => void;
  readonly gate: Gate;
}

const encoder = new PublishEncoder();

export class Sending {
  readonly #options: SendingOptions;

  constructor(options: SendingOptions) {
    this.#options = options;
  }

  /** Whole seconds since it was stored, for messages that expire. */
  waited({ expirySeconds, storedAt }: Sendable): number {
    return expirySeconds === undefined ? 0 : Math.floor((this.#options.log.now() - storedAt) / 1000);
  }

  /** Counts it. [MQTT5 3.3.2-5] */
  isExpired({ expirySeconds }: Sendable, waited: number): boolean {
    if (expirySeconds === undefined || waited <= 0 || waited < expirySeconds) return false;
    this.#options.counters.dropped.expired++;
    return true;
  }

  atMostOnce(message: Sendable, grant: Grant, waited: number): void {
    const { counters, outlet } = this.#options;
    const packet = this.#encode(message, grant, undefined, waited);
    if (packet.length <= outlet.maximumPacketSize) outlet.deliver(packet, 1);
    else counters.dropped.tooLargeForSubscriber++;
  }

  /** The first time. */
  acknowledged(delivery: Delivery, message: Sendable, grant: Grant, waited: number): void {
    const packet = this.#encode(message, grant, packetOf(delivery, false), waited);
    if (!this.#fits(packet)) return this.#options.outbound.finish(delivery);
    if (delivery.qos === 2) this.#sendWhenSafe(delivery, packet);
    else this.send(packet);
  }

  /** On another connection, with the packet id of the first time; an expiry no longer counts. [MQTT5 4.3.3-7] [MQTT5 4.4.0-1] */
  again(delivery: Delivery, message: Sendable, grant: Grant): void {
    const packet = this.#encode(message, grant, packetOf(delivery, true), this.waited(message));
    if (this.#fits(packet)) this.send(packet);
    else this.#options.outbound.finish(delivery);
  }

  /** [MQTT5 3.1.2-25] what is too large counts as delivered */
  #fits(packet: Buffer): boolean {
    const { counters, outlet } = this.#options;
    if (packet.length <= outlet.maximumPacketSize) return true;
    counters.dropped.tooLargeForSubscriber++;
    return false;
  }

  /** The packet, or undefined when it is too large for the client. `delivery`: undefined = QoS 0. */
  fitting(message: Sendable, grant: Grant, delivery: Delivery | undefined, waited: number): Buffer | undefined {
    const packet = this.#encode(message, grant, delivery && packetOf(delivery, false), waited);
    return packet.length <= this.#options.outlet.maximumPacketSize ? packet : undefined;
  }

  /** A packet of QoS 1 or 2. */
  send(packet: Buffer): void {
    this.#options.counters.messagesDelivered++;
    this.#options.outlet.deliverAcknowledged(packet);
  }

  /** The pair (packet id, position) is in the record before the PUBLISH leaves. */
  #sendWhenSafe(delivery: Delivery, packet: Buffer): void {
    const { gate, save } = this.#options;
    delivery.state = 'pending';
    // Each waits on its own: a write under way may have this one in it and not the next.
    save(() => {
      delivery.state = 'sent';
      if (!gate.isClosed) this.send(packet);
    });
  }

  #encode(
    { extras, payload, topic }: Sendable,
    { identifiers, retainAsPublished }: Grant,
    packet: { qos: 1 | 2; packetId: number; isDuplicate: boolean } | undefined,
    waited: number,
  ): Buffer {
    const variant = { hasProperties: this.#options.outlet.hasProperties, identifiers, retainAsPublished };
    const aged =
      extras === undefined || waited <= 0
        ? extras
        : { ...extras, properties: withRemainingExpiry(extras.properties, waited) };
    if (packet !== undefined) return encoder.encodeAcknowledged(packet, variant, { topic, payload, extras: aged });
    const bytes = Buffer.allocUnsafe(encoder.begin(variant, topic, payload, aged));
    encoder.write(bytes, 0);
    return bytes;
  }
}

function packetOf(
  { packetId, qos }: Delivery,
  isDuplicate: boolean,
): { qos: 1 | 2; packetId: number; isDuplicate: boolean } {
  return { packetId, isDuplicate, qos: qos === 2 ? 2 : 1 };
}
