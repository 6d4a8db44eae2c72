/**
 * Public keys of tokens from a URL: fetched at the start, every so often, and when a token names a key that is not there, but then not
 * soon after the last time. While the URL does not answer, the last good keys stay in use.
 */
import type { CancelTimer, Clock } from '../clock.ts';
import { fetchJson } from './bounded-fetch.ts';
import { parseJwks, type TokenKey } from './token-keys.ts';

const MAXIMUM_BYTES = 256 * 1024;
const COOL_DOWN_MILLISECONDS = 30_000;
/** After a failure. */
const RETRY_MILLISECONDS = 5_000;

export interface JwksUrlOptions {
  readonly url: string;
  readonly timeoutMs: number;
  readonly refreshSeconds: number;
  readonly clock: Clock;
  /** It answers again, and with how many keys. */
  readonly answers: (keys: number) => void;
  /** It does not, for the first time since it did. */
  readonly failed: (cause: unknown) => void;
}

export class JwksUrl {
  readonly #options: JwksUrlOptions;
  readonly #stop: CancelTimer;
  #keys: readonly TokenKey[] = [];
  #fetching: Promise<void> | undefined;
  #lastTry = Number.NEGATIVE_INFINITY;
  /** undefined: it has not been asked yet. */
  #isGood: boolean | undefined;

  constructor(options: JwksUrlOptions) {
    this.#options = options;
    this.#stop = options.clock.every(1_000, () => {
      if (this.#age >= (this.#isGood === true ? options.refreshSeconds * 1_000 : RETRY_MILLISECONDS))
        void this.#refresh();
    });
    void this.#refresh();
  }

  get keys(): readonly TokenKey[] {
    return this.#keys;
  }

  /** Whether the keys are all there are as far as one can know: the last fetch was answered. */
  get isCurrent(): boolean {
    return this.#isGood === true;
  }

  /** Resolves when the keys have been fetched, unless they were just before. */
  async lookAgain(): Promise<void> {
    if (this.#fetching === undefined && this.#isGood === true && this.#age < COOL_DOWN_MILLISECONDS) return;
    // A URL that has just failed is not asked for each client.
    if (this.#fetching === undefined && this.#isGood === false && this.#age < RETRY_MILLISECONDS) return;
    await this.#refresh();
  }

  close(): void {
    this.#stop();
  }

  get #age(): number {
    return this.#options.clock.now() - this.#lastTry;
  }

  /** One at a time; never rejects. */
  #refresh(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetch(): Promise<void> {
    const { answers, clock, failed, timeoutMs, url } = this.#options;
    this.#lastTry = clock.now();
    const was = this.#isGood;
    try {
      this.#keys = parseJwks(await fetchJson({ url, timeoutMs, maximumBytes: MAXIMUM_BYTES }));
      this.#isGood = true;
      if (was !== true) answers(this.#keys.length);
    } catch (cause) {
      this.#isGood = false;
      if (was !== false) failed(cause);
    }
  }
}
