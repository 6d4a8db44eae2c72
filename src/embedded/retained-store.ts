/**
 * The RetainedStore in the memory of one process: what a node uses when no NATS is configured. Same behaviour as
 * nats/retained-store.ts (test/contract), but what is retained ends with the process.
 */
import type {
  LogOutcome,
  RetainedCursor,
  RetainedMessage,
  RetainedPage,
  RetainedPut,
  RetainedStore,
} from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import { hasWildcard, topicMatches } from '../mqtt/topic.ts';
import { ownCopy } from '../own-memory.ts';

const DEFAULT_MAXIMUM_BYTES = 64 * 1024 * 1024;
/** Memory that a message takes beside payload, topic and properties. */
const OVERHEAD_BYTES = 512;
const PAGE_MESSAGES = 256;
const PAGE_BYTES = 256 * 1024;
/** Messages looked at before others get their turn. */
const SCAN_MESSAGES = 4_096;

export interface EmbeddedRetainedStoreOptions {
  /** Default 64 MiB. */
  readonly maximumBytes?: number;
  /** Default: no limit. */
  readonly maximumMessages?: number;
  readonly clock: Clock;
}

/** The retained messages of a node without NATS. */
export class EmbeddedRetainedStore implements RetainedStore {
  readonly #clock: Clock;
  readonly #maximumBytes: number;
  readonly #maximumMessages: number;
  /** By topic, in the order of their positions. */
  readonly #messages = new Map<string, RetainedMessage>();
  #bytes = 0;
  #lastPosition = 0;
  #isClosed = false;

  constructor({
    clock,
    maximumBytes = DEFAULT_MAXIMUM_BYTES,
    maximumMessages = Number.POSITIVE_INFINITY,
  }: EmbeddedRetainedStoreOptions) {
    this.#clock = clock;
    this.#maximumBytes = maximumBytes;
    this.#maximumMessages = maximumMessages;
  }

  put(message: RetainedPut, done: (outcome: LogOutcome) => void): void {
    const outcome = this.#put(message);
    // The caller is told after its call has returned, as with a store that has to be asked.
    queueMicrotask(() => {
      if (!this.#isClosed) done(outcome);
    });
  }

  async page(filter: string, { position }: RetainedCursor): Promise<RetainedPage> {
    if (!hasWildcard(filter)) {
      const found = this.#live(this.#messages.get(filter));
      return { messages: found === undefined || found.position <= position ? [] : [found], next: undefined };
    }
    const messages: RetainedMessage[] = [];
    let bytes = 0;
    let untilPause = SCAN_MESSAGES;
    for (const message of this.#messages.values()) {
      if (--untilPause === 0) {
        untilPause = SCAN_MESSAGES;
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (message.position <= position || !topicMatches(filter, message.topic.name)) continue;
      if (this.#live(message) === undefined) continue;
      messages.push(message);
      bytes += bytesOf(message);
      if (messages.length >= PAGE_MESSAGES || bytes >= PAGE_BYTES)
        return { messages, next: { position: message.position, isBroad: true } };
    }
    return { messages, next: undefined };
  }

  close(): void {
    this.#isClosed = true;
    this.#messages.clear();
  }

  /** Sequences grow with every call: one process, one log. */
  #put({ expirySeconds, extras, payload, qos, route: topic, sequence }: RetainedPut): LogOutcome {
    const previous = this.#messages.get(topic.name);
    if (previous !== undefined && previous.sequence >= sequence) return 'stored';
    const message: RetainedMessage = {
      position: ++this.#lastPosition,
      sequence,
      topic,
      payload: ownCopy(payload),
      qos,
      extras: { ...extras, properties: ownCopy(extras.properties) },
      expirySeconds,
      storedAt: this.#clock.wall(),
    };
    const bytes = this.#bytes - (previous === undefined ? 0 : bytesOf(previous)) + bytesOf(message);
    if (payload.length > 0 && bytes > this.#maximumBytes && !this.#makeRoom(bytesOf(message))) return 'full';
    const isOneMore = payload.length > 0 && previous === undefined;
    if (isOneMore && this.#messages.size >= this.#maximumMessages && !this.#makeRoom(0)) return 'full';
    this.#remove(previous);
    if (payload.length === 0) return 'stored';
    this.#messages.set(topic.name, message);
    this.#bytes += bytesOf(message);
    return 'stored';
  }

  /** What has expired and was never met goes. */
  #makeRoom(bytes: number): boolean {
    for (const message of this.#messages.values()) this.#live(message);
    return this.#bytes + bytes <= this.#maximumBytes && this.#messages.size < this.#maximumMessages;
  }

  #remove(message: RetainedMessage | undefined): void {
    if (message === undefined || this.#messages.get(message.topic.name) !== message) return;
    this.#messages.delete(message.topic.name);
    this.#bytes -= bytesOf(message);
  }

  /** An expired message goes when it is met. */
  #live(message: RetainedMessage | undefined): RetainedMessage | undefined {
    if (message?.expirySeconds === undefined) return message;
    if (this.#clock.wall() - message.storedAt < message.expirySeconds * 1000) return message;
    this.#remove(message);
    return undefined;
  }
}

function bytesOf({ extras, payload, topic }: RetainedMessage): number {
  return payload.length + topic.encoded.length + extras.properties.length + OVERHEAD_BYTES;
}
