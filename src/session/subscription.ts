/** A subscription of a session that reads the log, and how several of them decide on one message. */
import type { LogRecord } from '../broker/ports.ts';
import type { QoS } from '../mqtt/packet.ts';
import { encodeSubscriptionIdentifiers } from '../mqtt/publish.ts';
import { type ParsedFilter, topicMatches } from '../mqtt/topic.ts';
import type { Reader } from './reader.ts';

/** What a SUBSCRIBE says of one filter. */
export interface SubscriptionOptions {
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** 0 = none. */
  readonly identifier: number;
}

/** How a message reaches a client. */
export interface Grant {
  readonly qos: 0 | 1 | 2;
  readonly retainAsPublished: boolean;
  /** Encoded, of all subscriptions that match. [MQTT5 3.3.4-4] */
  readonly identifiers: Buffer;
}

export class SessionSubscription {
  /** As the client wrote it. */
  readonly text: string;
  readonly filter: string;
  /** Members of a group do not read the log. */
  readonly group: string | undefined;
  /** One per pattern of the filter. */
  readonly readers: Reader[] = [];
  /** The other subscriptions of the session that can match the same topic. */
  readonly overlapping: SessionSubscription[] = [];
  /** Messages up to this position are from before it. */
  start = 0;
  /** It was made by this connection, and its retained messages are owed since. */
  isNew = false;
  /** Its retained messages are owed to the client: position in the retained store up to which it has them; undefined = not owed (any more). */
  retainedDue: number | undefined;
  /** End of the log when they became due: what is behind it comes as an ordinary message. Undefined: {@link start}. */
  retainedUntil: number | undefined;
  /** Positions in the log of messages behind `retainedDue` that the client has. */
  retainedDone: readonly number[] = [];

  #options: SubscriptionOptions;
  /** By QoS of the publisher. */
  #grants: readonly [Grant, Grant, Grant];

  constructor(text: string, { filter, group }: ParsedFilter, options: SubscriptionOptions) {
    this.text = text;
    this.filter = filter;
    this.group = group;
    this.#options = options;
    this.#grants = grantsOf(options);
  }

  get options(): SubscriptionOptions {
    return this.#options;
  }

  /** A new SUBSCRIBE for the same filter changes what it says and nothing else. [MQTT5 3.8.4-3] [MQTT311 3.8.4-3] */
  replaceOptions(options: SubscriptionOptions): void {
    this.#options = options;
    this.#grants = grantsOf(options);
  }

  /**
   * One copy at the highest QoS, with all identifiers; undefined when No Local keeps the message from the client.
   * [MQTT5 3.3.4-2] [MQTT311 3.3.5-1] [MQTT5 3.8.3-3]
   */
  grant(record: LogRecord, origin: string): Grant | undefined {
    if (this.overlapping.length === 0 && !this.#options.noLocal) return this.#grants[record.qos];
    const isOwn = record.extras !== undefined && record.extras.origin !== '' && record.extras.origin === origin;
    const matching = [this, ...this.overlapping.filter((other) => other.matches(record))].filter(
      ({ options }) => !(isOwn && options.noLocal),
    );
    if (matching.length === 0) return undefined;
    const granted = Math.max(...matching.map(({ options }) => options.qos));
    return {
      qos: Math.min(granted, record.qos) as Grant['qos'], // both are 0, 1 or 2
      retainAsPublished: matching.some(({ options }) => options.retainAsPublished),
      identifiers: encodeSubscriptionIdentifiers(matching.map(({ options }) => options.identifier)),
    };
  }

  /** The readers of all subscriptions that ask for this message: each of them comes to it. */
  readersOf(record: LogRecord): readonly Reader[] {
    const others = this.overlapping.filter((other) => other.matches(record));
    return [...this.readers, ...others.flatMap(({ readers }) => readers)];
  }

  /** Not yet: it is not promised either. Written into the record now, it would begin at the start of the log. */
  get hasBegun(): boolean {
    return this.readers.every((reader) => reader.hasBegun);
  }

  /** What is published now waits, in the log, until the client has what was retained before. */
  get isHeld(): boolean {
    return this.retainedDue !== undefined && this.#options.qos > 0;
  }

  /** A retained message has RETAIN set for a new subscription, always. [MQTT5 3.3.1-9] [MQTT311 3.3.1-8] */
  grantRetained(qos: QoS): Grant {
    return { ...(this.#grants[qos] ?? this.#grants[0]), retainAsPublished: true };
  }

  /** Whether it asks for this message; `isCopy`: a retained one, which is older than the subscription. */
  matches({ sequence, topic }: LogRecord, isCopy = false): boolean {
    return (isCopy || sequence > this.start) && topicMatches(this.filter, topic.name);
  }
}

/** [MQTT5 3.8.4-8] [MQTT311 3.8.4-6] */
function grantsOf({ identifier, qos, retainAsPublished }: SubscriptionOptions): readonly [Grant, Grant, Grant] {
  const identifiers = encodeSubscriptionIdentifiers([identifier]);
  const grant = (published: QoS): Grant => ({
    qos: Math.min(qos, published) as Grant['qos'], // both are 0, 1 or 2
    retainAsPublished,
    identifiers,
  });
  return [grant(0), grant(1), grant(2)];
}
