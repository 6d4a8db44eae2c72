/**
 * How fast one client may publish: messages and bytes per second, each with a burst of a second. Who is faster is not read for a while, so
 * the client's network connection slows it down and nothing is lost. Bytes are counted per chunk, messages one by one.
 */

/** As configured; 0 = no limit. */
export interface PublishRateLimits {
  readonly publishesPerSecond: number;
  readonly publishBytesPerSecond: number;
}

/** A shorter pause would cost more than it is worth. */
const SHORTEST_PAUSE_MILLISECONDS = 50;

export class PublishRate {
  readonly #messagesPerSecond: number;
  readonly #bytesPerSecond: number;
  /** Left; bytes may be less than 0, by one chunk. */
  #messages: number;
  #bytes: number;
  #filledAt: number;

  /** `now` in milliseconds, here and below. */
  constructor({ publishBytesPerSecond, publishesPerSecond }: PublishRateLimits, now: number) {
    this.#messagesPerSecond = publishesPerSecond || Number.POSITIVE_INFINITY;
    this.#bytesPerSecond = publishBytesPerSecond || Number.POSITIVE_INFINITY;
    this.#messages = this.#messagesPerSecond;
    this.#bytes = this.#bytesPerSecond;
    this.#filledAt = now;
  }

  /** A chunk has come. */
  received(bytes: number, now: number): void {
    this.#fill(now);
    this.#bytes -= bytes;
  }

  /** A message has been taken. */
  published(): void {
    this.#messages--;
  }

  /** The limit that is used up, if one is. */
  get spent(): keyof PublishRateLimits | undefined {
    if (this.#messages < 1) return 'publishesPerSecond';
    return this.#bytes < 0 ? 'publishBytesPerSecond' : undefined;
  }

  /** Milliseconds until nothing is used up any more. */
  pauseFor(): number {
    const messages = ((1 - this.#messages) / this.#messagesPerSecond) * 1000;
    const bytes = (-this.#bytes / this.#bytesPerSecond) * 1000;
    // Without a limit there is nothing to wait for: infinity by infinity is no number.
    return Math.max(SHORTEST_PAUSE_MILLISECONDS, messages || 0, bytes || 0);
  }

  #fill(now: number): void {
    const seconds = (now - this.#filledAt) / 1000;
    this.#filledAt = now;
    this.#messages = refilled(this.#messages, this.#messagesPerSecond, seconds);
    this.#bytes = refilled(this.#bytes, this.#bytesPerSecond, seconds);
  }
}

function refilled(left: number, perSecond: number, seconds: number): number {
  return perSecond === Number.POSITIVE_INFINITY ? perSecond : Math.min(perSecond, left + perSecond * seconds);
}
