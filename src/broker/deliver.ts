/**
 * Messages from the bus → local subscribers. Consecutive messages for the same interest form a run: they are encoded
 * back to back, once per variant, and every subscriber gets the run as one buffer. A run ends when a message for another
 * interest comes, when the interest changes, and at the end of the event loop turn: order per subscriber is arrival order.
 */
import type { Counters } from '../counters.ts';
import type { Extras, Topic } from '../message.ts';
import { encodeSubscriptionIdentifiers, PublishEncoder } from '../mqtt/publish.ts';
import { topicMatches } from '../mqtt/topic.ts';
import type { Interest, Subscription, Variant } from './interest.ts';
import { RunBuffer } from './run-buffer.ts';

/** Variants of an interest that get a run buffer of their own; deliveries of further ones are single packets. */
const RUN_BUFFERS = 4;

export class Delivery {
  readonly #counters: Counters;
  readonly #flushWrites: () => void;
  readonly #encoder = new PublishEncoder();
  readonly #buffers = Array.from({ length: RUN_BUFFERS }, () => new RunBuffer());
  #interest: Interest | undefined;
  #isScheduled = false;

  /** `flushWrites` is called at the end of each turn, after the last run was handed to the subscribers. */
  constructor(counters: Counters, flushWrites: () => void) {
    this.#counters = counters;
    this.#flushWrites = flushWrites;
  }

  /** Delivers one message to everybody behind `interest`. `payload` and `extras` are copied before it returns. */
  deliver(interest: Interest, topic: Topic, payload: Uint8Array, extras: Extras | undefined): void {
    if (this.#interest !== interest) this.#begin(interest);
    const { variants, selective } = interest;
    const isStored = extras?.isStored === true;
    for (let i = 0; i < variants.length; i++) {
      const variant = variants[i];
      if (variant === undefined || (isStored && variant.readsLog)) continue;
      const size = this.#encoder.begin(variant, topic, payload, extras);
      const buffer = this.#buffers[i];
      if (buffer === undefined) this.#deliverSingle(variant, size);
      else this.#append(buffer, variant, size);
    }
    for (let i = 0; i < selective.length; i++) {
      const subscription = selective[i];
      if (subscription !== undefined) this.#deliverSelective(subscription, topic, payload, extras);
    }
  }

  /** Must be called before subscriptions of `interest` change: they get what came before, and no more. */
  settle(interest: Interest): void {
    if (this.#interest === interest) this.#endRun();
  }

  #begin(interest: Interest): void {
    this.#endRun();
    this.#interest = interest;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#endTurn);
  }

  readonly #endTurn = (): void => {
    this.#isScheduled = false;
    this.#endRun();
    this.#flushWrites();
  };

  #endRun(): void {
    const variants = this.#interest?.variants;
    this.#interest = undefined;
    if (variants === undefined) return;
    for (let i = 0; i < this.#buffers.length && i < variants.length; i++) {
      const variant = variants[i];
      const buffer = this.#buffers[i];
      if (variant !== undefined && buffer !== undefined) this.#handOver(buffer, variant);
    }
  }

  #append(buffer: RunBuffer, variant: Variant, size: number): void {
    if (!buffer.hasRoom(size)) {
      this.#handOver(buffer, variant);
      buffer.makeRoom(size);
    }
    this.#encoder.write(buffer.memory, buffer.reserve(size));
  }

  #handOver(buffer: RunBuffer, variant: Variant): void {
    const { count, largest } = buffer;
    if (count === 0) return;
    const packets = buffer.take();
    const { members } = variant;
    for (let i = 0; i < members.length; i++) {
      const subscriber = members[i]?.subscriber;
      if (subscriber === undefined) continue;
      if (largest <= subscriber.maximumPacketSize) subscriber.deliver(packets, count);
      else this.#deliverFitting(subscriber, packets);
    }
  }

  /** Leaves out the packets that are too large for this subscriber; they count as delivered. [MQTT5 3.1.2-25] */
  #deliverFitting(subscriber: Subscription['subscriber'], packets: Buffer): void {
    for (const packet of splitPackets(packets)) {
      if (packet.length <= subscriber.maximumPacketSize) subscriber.deliver(packet, 1);
      else this.#counters.dropped.tooLargeForSubscriber++;
    }
  }

  #deliverSingle(variant: Variant, size: number): void {
    const packet = Buffer.allocUnsafe(size);
    this.#encoder.write(packet, 0);
    for (const { subscriber } of variant.members) this.#deliverPacket(subscriber, packet);
  }

  #deliverPacket(subscriber: Subscription['subscriber'], packet: Buffer): void {
    if (packet.length <= subscriber.maximumPacketSize) subscriber.deliver(packet, 1);
    else this.#counters.dropped.tooLargeForSubscriber++;
  }

  /**
   * A message reaches a client once, however many of its filters match: every matching interest brings a copy, and
   * the copy of the oldest matching subscription is delivered, with the identifiers of all. [MQTT5 3.3.4-2] [MQTT5 3.3.4-4]
   */
  #deliverSelective(subscription: Subscription, topic: Topic, payload: Uint8Array, extras: Extras | undefined): void {
    if (!accepts(subscription, extras) || (extras?.isStored === true && subscription.subscriber.readsLog)) return;
    if (extras?.retain === true) subscription.noted?.note(topic.name);
    let identifiers: number[] | undefined;
    for (const other of subscription.overlapping) {
      if (!accepts(other, extras) || !topicMatches(other.filter, topic.name)) continue;
      if (other.serial < subscription.serial) return;
      if (other.identifier !== 0) identifiers = [...(identifiers ?? [subscription.identifier]), other.identifier];
    }
    const { subscriber, retainAsPublished } = subscription;
    const variant = {
      hasProperties: subscriber.hasProperties,
      identifiers: encodeSubscriptionIdentifiers(identifiers ?? [subscription.identifier]),
      retainAsPublished,
    };
    const packet = Buffer.allocUnsafe(this.#encoder.begin(variant, topic, payload, extras));
    this.#encoder.write(packet, 0);
    this.#deliverPacket(subscriber, packet);
  }
}

/** No Local: own messages do not come back. [MQTT5 3.8.3-3] */
function accepts(subscription: Subscription, extras: Extras | undefined): boolean {
  return !(subscription.noLocal && extras !== undefined && extras.origin === subscription.subscriber.origin);
}

/** The packets of a run; lengths are ours and therefore sound. */
function* splitPackets(packets: Buffer): Generator<Buffer> {
  let start = 0;
  while (start < packets.length) {
    let position = start + 1;
    let length = 0;
    let factor = 1;
    let byte: number;
    do {
      byte = packets[position++] ?? 0;
      length += (byte & 127) * factor;
      factor *= 128;
    } while (byte > 127);
    yield packets.subarray(start, position + length);
    start = position + length;
  }
}
