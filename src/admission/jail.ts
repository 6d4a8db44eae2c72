/**
 * Who is kept out for a while: addresses whose connections end badly too often, and client ids that connect from one address again and again.
 * A client id is only kept out of the address it flaps from: nobody can have somebody else's client id jailed.
 */
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { Occurrences } from './occurrences.ts';
import { RecentMap } from './recent-map.ts';

/** Addresses, and client ids, of which something is remembered. */
const CAPACITY = 16_384;

export interface JailSettings {
  /** How long somebody is kept out. */
  readonly jailSeconds: number;
  /** Bad ends of one address within the window that it takes; 0 = it never happens. */
  readonly jailFailures: number;
  /** CONNECTs of one client id from one address within the window that are too many; 0 = none are. */
  readonly jailReconnects: number;
  readonly jailWindowSeconds: number;
}

export interface JailOptions {
  readonly settings: JailSettings;
  readonly clock: Clock;
  readonly counters: Counters;
  /** An address, which has no connection in until then, or a client id was jailed. */
  readonly jailed: (who: { readonly address: string; readonly clientId?: string }) => void;
}

export class Jail {
  readonly #options: JailOptions;
  readonly #failures: Occurrences;
  readonly #reconnects: Occurrences;
  /** When they are free again. */
  readonly #addresses = new RecentMap<number>(CAPACITY);
  readonly #clients = new RecentMap<number>(CAPACITY);

  constructor(options: JailOptions) {
    this.#options = options;
    this.#failures = new Occurrences(options.settings.jailWindowSeconds, CAPACITY);
    this.#reconnects = new Occurrences(options.settings.jailWindowSeconds, CAPACITY);
  }

  /** `address`, here and below, as {@link addressKey} makes it. */
  holds(address: string): boolean {
    return isIn(this.#addresses, address, this.#options.clock.now());
  }

  /** A connection of this address has ended badly, or was one too many. */
  failed(address: string): void {
    const { clock, counters, jailed, settings } = this.#options;
    const { jailFailures, jailSeconds } = settings;
    const now = clock.now();
    // A flood has connections left when its address goes to jail: they neither put it there again nor keep it there longer.
    if (jailFailures === 0 || this.holds(address) || this.#failures.add(address, now) < jailFailures) return;
    this.#failures.forget(address);
    this.#addresses.set(address, now + jailSeconds * 1000);
    counters.addressesJailed++;
    jailed({ address });
  }

  /** Whether this client may connect; asked once for each CONNECT that would be accepted. */
  admitsClient(address: string, clientId: string): boolean {
    const { clock, counters, jailed, settings } = this.#options;
    const { jailReconnects, jailSeconds } = settings;
    if (jailReconnects === 0) return true;
    const [name, now] = [`${address} ${clientId}`, clock.now()];
    if (isIn(this.#clients, name, now)) return false;
    if (this.#reconnects.add(name, now) <= jailReconnects) return true;
    this.#reconnects.forget(name);
    this.#clients.set(name, now + jailSeconds * 1000);
    counters.clientsJailed++;
    jailed({ address, clientId });
    return false;
  }
}

function isIn(jailed: RecentMap<number>, name: string, now: number): boolean {
  const until = jailed.get(name);
  if (until === undefined) return false;
  if (now < until) return true;
  jailed.delete(name);
  return false;
}
