/**
 * Who may open a connection: asked by the listeners for each one before any work is done for it, TLS included, and by connection/ for each
 * CONNECT. One for the node, made by server.ts. All that it remembers is bounded.
 */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Counters, LimitCounters } from '../counters.ts';
import type { Admission } from '../transport/listener.ts';
import { addressKey } from './address-key.ts';
import { AddressLimits } from './address-limits.ts';
import { makeExemption } from './exemption.ts';
import { Jail, type JailSettings } from './jail.ts';
import { Overload, type Shortage } from './overload.ts';
import { TokenBucket } from './token-bucket.ts';
import { UserLimit } from './user-limit.ts';

/** As configured; 0 = no limit, unless it says otherwise. */
export interface AdmissionLimits extends JailSettings {
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
  readonly maxConnectionsPerUser: number;
  readonly connectsPerSecond: number;
  /** New connections at once; 0 = what a second allows. */
  readonly connectBurst: number;
  readonly connectsPerSecondPerAddress: number;
  /** Addresses and networks that no limit per address holds for. */
  readonly exemptAddresses: readonly string[];
  readonly maxEventLoopDelayMs: number;
  readonly maxMemoryBytes: number;
}

export interface AdmissionOptions {
  readonly limits: AdmissionLimits;
  readonly clock: Clock;
  readonly counters: Counters;
  readonly log: Logger;
}

/** Lines about jailed clients: one, and then none for so long. */
const QUIET_MILLISECONDS = 10_000;

export class NodeAdmission implements Admission {
  /** Undefined: nobody is jailed. */
  readonly jail: Jail | undefined;
  readonly users: UserLimit;
  readonly #options: AdmissionOptions;
  readonly #addresses: AddressLimits | undefined;
  readonly #rate: TokenBucket | undefined;
  readonly #isExempt: (address: string) => boolean;
  readonly #overload: Overload;
  #open = 0;
  #quietUntil = 0;

  constructor(options: AdmissionOptions) {
    const { clock, limits } = options;
    const { connectBurst, connectsPerSecond, connectsPerSecondPerAddress, maxConnectionsPerAddress } = limits;
    this.#options = options;
    this.users = new UserLimit(limits.maxConnectionsPerUser);
    this.#isExempt = makeExemption(limits.exemptAddresses);
    if (connectsPerSecond > 0)
      this.#rate = new TokenBucket(connectsPerSecond, connectBurst || connectsPerSecond, clock.now());
    if (maxConnectionsPerAddress > 0 || connectsPerSecondPerAddress > 0)
      this.#addresses = new AddressLimits({
        maximumConnections: maxConnectionsPerAddress,
        connectsPerSecond: connectsPerSecondPerAddress,
      });
    this.jail = limits.jailSeconds > 0 ? this.#makeJail() : undefined;
    this.#overload = this.#makeOverload();
  }

  /** Why no new client is taken; undefined: they are. */
  get shortage(): Shortage | undefined {
    return this.#overload.shortage;
  }

  admit(address: string): boolean {
    const refusing = this.#refusing(address);
    if (refusing === undefined) {
      this.#open++;
      return true;
    }
    const { counters } = this.#options;
    counters.connectionsRefused++;
    counters.limited[refusing]++;
    return false;
  }

  left(address: string): void {
    this.#open--;
    if (this.#addresses !== undefined) this.#addresses.left(this.countedAs(address));
  }

  failed(address: string): void {
    if (this.jail === undefined) return;
    const key = this.countedAs(address);
    if (key !== '') this.jail.failed(key);
  }

  /** The name under which limits count an address; empty: none holds for it. */
  countedAs(address: string): string {
    return this.#isExempt(address) ? '' : addressKey(address);
  }

  stop(): void {
    this.#overload.stop();
  }

  /** The limit that speaks against one more connection; who is refused for its address takes nothing of what the node allows. */
  #refusing(address: string): keyof LimitCounters | undefined {
    const { clock, limits } = this.#options;
    if (this.#open >= limits.maxConnections) return 'maxConnections';
    const counted = this.#addresses !== undefined || this.jail !== undefined ? this.countedAs(address) : '';
    const refusing = counted === '' ? undefined : this.#refusingAddress(counted);
    if (refusing !== undefined) return refusing;
    if (this.#rate?.take(clock.now()) === false) return 'connectsPerSecond';
    if (counted !== '') this.#addresses?.entered(counted);
    return undefined;
  }

  #refusingAddress(counted: string): keyof LimitCounters | undefined {
    if (this.jail?.holds(counted) === true) return 'jailSeconds';
    if (this.#addresses === undefined) return undefined;
    if (this.#addresses.isFull(counted)) return 'maxConnectionsPerAddress';
    if (this.#addresses.keepsRate(counted, this.#options.clock.now())) return undefined;
    this.jail?.failed(counted);
    return 'connectsPerSecondPerAddress';
  }

  #makeJail(): Jail {
    const { clock, counters, limits, log } = this.#options;
    return new Jail({
      settings: limits,
      clock,
      counters,
      jailed: (who) => {
        if (clock.now() < this.#quietUntil) return;
        this.#quietUntil = clock.now() + QUIET_MILLISECONDS;
        log.warn(
          { event: 'admission.jailed', ...who, seconds: limits.jailSeconds },
          'A client is kept out for a while; for ten seconds others are only counted',
        );
      },
    });
  }

  #makeOverload(): Overload {
    const { clock, limits, log } = this.#options;
    return new Overload({
      maximumDelayMilliseconds: limits.maxEventLoopDelayMs,
      maximumMemoryBytes: limits.maxMemoryBytes,
      clock,
      changed: (shortage, isShort, measured) => {
        const fields = { shortage, measured };
        if (isShort)
          log.warn({ event: 'admission.overloaded', ...fields }, 'The node is overloaded: it takes no new clients');
        else log.info({ event: 'admission.recovered', ...fields }, 'The node takes new clients again');
      },
    });
  }
}
