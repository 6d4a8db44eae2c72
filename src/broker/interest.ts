/**
 * A subscription as a node serves it, and an interest: one bus subscription and the local subscribers behind it,
 * sorted into variants whose PUBLISH bytes are equal. Owned by subscriptions.ts, read by deliver.ts for each message.
 */
import { encodeSubscriptionIdentifiers, type PublishVariant } from '../mqtt/publish.ts';
import type { NotedTopics } from '../noted-topics.ts';

/** Where deliveries of one client go; connection/sender.ts implements it. */
export interface Subscriber {
  /** MQTT 5 packets carry properties. */
  readonly hasProperties: boolean;
  /** Bytes; Infinity when the client stated none. [MQTT5 3.1.2-24] */
  readonly maximumPacketSize: number;
  /** What this client's messages carry as `origin` while it has a No Local subscription. */
  readonly origin: string;
  /** Gets stored messages from the log: copies of them on the bus are not for it. Set before its subscriptions are made. */
  readonly readsLog: boolean;
  /** Takes `count` whole QoS 0 PUBLISH packets; the bytes are shared with other subscribers and never modified. */
  deliver(packets: Buffer, count: number): void;
}

/** One subscription of one client. A new SUBSCRIBE for the same filter makes a new one that keeps the old `serial`. */
export interface Subscription {
  readonly subscriber: Subscriber;
  /** As the client wrote it, group included: the key within the client. */
  readonly text: string;
  readonly filter: string;
  readonly group: string | undefined;
  /** 0 = none. */
  readonly identifier: number;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** Age: lower is older. Of overlapping subscriptions the oldest one delivers. */
  readonly serial: number;
  /** The other plain subscriptions of the same client whose filters overlap this one. */
  readonly overlapping: Subscription[];
  /** While retained messages are read for it. */
  noted: NotedTopics | undefined;
  /** Where it sits in its interest. */
  place: Place | undefined;
}

interface Place {
  /** Undefined: among the selective ones. */
  readonly variant: Variant | undefined;
  index: number;
}

/** Subscriptions of one interest whose deliveries are the same bytes. */
export interface Variant extends PublishVariant {
  readonly readsLog: boolean;
  readonly members: Subscription[];
}

/** Whether each message needs a look before it goes to this subscription. */
function isSelective(subscription: Subscription): boolean {
  return subscription.noLocal || subscription.noted !== undefined || subscription.overlapping.length > 0;
}

export class Interest {
  readonly filter: string;
  readonly variants: Variant[] = [];
  readonly selective: Subscription[] = [];
  readonly #byKey = new Map<number, Variant>();

  constructor(filter: string) {
    this.filter = filter;
  }

  get isEmpty(): boolean {
    return this.variants.length === 0 && this.selective.length === 0;
  }

  add(subscription: Subscription): void {
    const variant = isSelective(subscription) ? undefined : this.#variantOf(subscription);
    const members = variant?.members ?? this.selective;
    subscription.place = { variant, index: members.length };
    members.push(subscription);
  }

  remove(subscription: Subscription): void {
    const { place } = subscription;
    if (place === undefined) return;
    subscription.place = undefined;
    const members = place.variant?.members ?? this.selective;
    const last = members.pop();
    if (last !== undefined && last !== subscription && last.place !== undefined) {
      members[place.index] = last;
      last.place.index = place.index;
    }
    if (place.variant !== undefined && members.length === 0) this.#dropVariant(place.variant);
  }

  #variantOf(subscription: Subscription): Variant {
    const { identifier, retainAsPublished } = subscription;
    const { hasProperties } = subscription.subscriber;
    const readsLog = subscription.group === undefined && subscription.subscriber.readsLog;
    const key = identifier * 8 + (readsLog ? 4 : 0) + (hasProperties ? 2 : 0) + (retainAsPublished ? 1 : 0);
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const identifiers = encodeSubscriptionIdentifiers([identifier]);
    const variant: Variant = { hasProperties, identifiers, readsLog, retainAsPublished, members: [] };
    this.#byKey.set(key, variant);
    this.variants.push(variant);
    return variant;
  }

  #dropVariant(variant: Variant): void {
    this.variants.splice(this.variants.indexOf(variant), 1);
    for (const [key, value] of this.#byKey) {
      if (value === variant) this.#byKey.delete(key);
    }
  }
}
