/** What one address may have: so many connections at once, and so many new ones per second. */
import { RecentMap } from './recent-map.ts';
import { TokenBucket } from './token-bucket.ts';

/** Addresses whose rate is remembered; one that is forgotten may begin with a burst again, which the rate of the node bounds. */
const REMEMBERED_RATES = 65_536;

export interface AddressSettings {
  /** 0, here and below = no limit. */
  readonly maximumConnections: number;
  readonly connectsPerSecond: number;
}

export class AddressLimits {
  readonly #settings: AddressSettings;
  /** Bounded by the connections of the node. */
  readonly #connections = new Map<string, number>();
  readonly #rates = new RecentMap<TokenBucket>(REMEMBERED_RATES);

  constructor(settings: AddressSettings) {
    this.#settings = settings;
  }

  isFull(address: string): boolean {
    const { maximumConnections } = this.#settings;
    return maximumConnections > 0 && (this.#connections.get(address) ?? 0) >= maximumConnections;
  }

  /** Whether its rate allows one more connection, which is counted. A burst is what a second allows. */
  keepsRate(address: string, now: number): boolean {
    const { connectsPerSecond } = this.#settings;
    if (connectsPerSecond === 0) return true;
    const bucket = this.#rates.get(address) ?? new TokenBucket(connectsPerSecond, connectsPerSecond, now);
    this.#rates.set(address, bucket);
    return bucket.take(now);
  }

  entered(address: string): void {
    if (this.#settings.maximumConnections === 0) return;
    this.#connections.set(address, (this.#connections.get(address) ?? 0) + 1);
  }

  left(address: string): void {
    const count = this.#connections.get(address);
    if (count === undefined) return;
    if (count > 1) this.#connections.set(address, count - 1);
    else this.#connections.delete(address);
  }
}
