/**
 * How many entries a stream may have in the cluster, as its stores ask before they add one. JetStream's own limits would not do: a replicated
 * stream at its limit refuses to change what is there, too. The stream is asked at most once a second, so nodes that add at the same time can
 * go above the quota by what they add in a second. A stream that does not answer has room: an outage is no refusal.
 */
import type { Clock } from '../clock.ts';
import type { Requests } from './jetstream.ts';

const FRESH_MILLISECONDS = 1_000;
const CALL_MILLISECONDS = 2_000;

export interface StreamQuotaOptions {
  readonly requests: Requests;
  readonly stream: string;
  readonly clock: Clock;
  /** 0 = no limit, both. */
  readonly messages: number;
  readonly bytes: number;
}

interface StreamInfo {
  readonly state: { readonly messages: number; readonly bytes: number };
}

export class StreamQuota {
  readonly #options: StreamQuotaOptions;
  #asked: Promise<void> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #messages = 0;
  #bytes = 0;

  constructor(options: StreamQuotaOptions) {
    this.#options = options;
  }

  /** Whether one more entry of so many bytes fits; if so it is counted. Costs nothing without a limit. */
  async hasRoom(bytes: number): Promise<boolean> {
    const { bytes: maximumBytes, clock, messages: maximumMessages } = this.#options;
    if (maximumMessages === 0 && maximumBytes === 0) return true;
    if (clock.now() - this.#askedAt > FRESH_MILLISECONDS) {
      this.#askedAt = clock.now();
      this.#asked = this.#ask();
    }
    await this.#asked;
    if (maximumMessages > 0 && this.#messages >= maximumMessages) return false;
    if (maximumBytes > 0 && this.#bytes + bytes > maximumBytes) return false;
    this.#messages++;
    this.#bytes += bytes;
    return true;
  }

  async #ask(): Promise<void> {
    const { requests, stream } = this.#options;
    try {
      const { state } = await requests.api<StreamInfo>(`STREAM.INFO.${stream}`, '', CALL_MILLISECONDS);
      this.#messages = state.messages;
      this.#bytes = state.bytes;
    } catch {
      // Not answered: what was known last, and what was added since, is the best guess.
    }
  }
}
