/**
 * What one client may publish and subscribe to. Made by {@link Authorizer} when its CONNECT is accepted, for clients that rules exist for;
 * the rules are put together when they are first asked. Decisions are synchronous, and remembered per topic until the rules change.
 */
import { BoundedCache } from '../bounded-cache.ts';
import type { QoS } from '../mqtt/packet.ts';
import { ALL_PUBLISH_BITS, type CompiledRule } from './compiled-rule.ts';
import { Pattern } from './pattern.ts';

/** Rules in their order, first those that came with the credentials. */
export type RuleLists = ReadonlyArray<readonly CompiledRule[]>;

export interface AccessRules {
  readonly lists: RuleLists;
  /** Of what no rule fits. */
  readonly isAllowedByDefault: boolean;
}

/** Characters of remembered topics: about 100 usual ones, for a client that goes from topic to topic. */
const TOPIC_CHARACTERS = 8 * 1024;

export class ClientAccess {
  /** The rules have changed since what the client has was looked at. */
  isReviewDue = false;
  readonly #read: () => AccessRules;
  #rules: AccessRules | undefined;
  /** Topic of the last message, and what may be published to it. */
  #topic = '';
  #bits = 0;
  /** Of the topics before; made for the second one. */
  #known: BoundedCache<number> | undefined;

  /** `read` puts the rules together as they are now. */
  constructor(read: () => AccessRules) {
    this.#read = read;
  }

  /** `bit`: see `publishBit`. Called for every message: the same topic again costs a comparison. */
  mayPublish(topic: string, bit: number): boolean {
    if (topic !== this.#topic) this.#turnTo(topic);
    return ((this.#bits >> bit) & 1) === 1;
  }

  /** The highest QoS at which the client may subscribe to a filter, given without its group; undefined = not at all. */
  subscribeQos(filter: string): QoS | undefined {
    const wanted = new Pattern(filter);
    const { isAllowedByDefault, lists } = this.#current();
    for (const list of lists) {
      for (const { isAllowed, maximumQos, pattern, subscribes } of list) {
        if (!subscribes) continue;
        if (isAllowed ? pattern.covers(wanted) : pattern.overlaps(wanted)) return isAllowed ? maximumQos : undefined;
      }
    }
    return isAllowedByDefault ? 2 : undefined;
  }

  /** The rules have changed: nothing that was decided before holds. */
  reset(): void {
    this.isReviewDue = true;
    this.#rules = undefined;
    this.#topic = '';
    this.#bits = 0;
    this.#known = undefined;
  }

  #turnTo(topic: string): void {
    const known = this.#known?.get(topic);
    const bits = known ?? this.#publishBits(topic);
    if (known === undefined && this.#topic !== '') {
      this.#known ??= new BoundedCache(TOPIC_CHARACTERS);
      this.#known.add(topic, bits);
    }
    this.#topic = topic;
    this.#bits = bits;
  }

  /** For each QoS, with and without RETAIN, the first rule that fits decides. */
  #publishBits(topic: string): number {
    const name = new Pattern(topic);
    const { isAllowedByDefault, lists } = this.#current();
    let open = ALL_PUBLISH_BITS;
    let allowed = 0;
    for (const list of lists) {
      for (const { isAllowed, pattern, publishBits } of list) {
        if ((publishBits & open) === 0 || !pattern.covers(name)) continue;
        if (isAllowed) allowed |= publishBits & open;
        open &= ~publishBits;
        if (open === 0) return allowed;
      }
    }
    return isAllowedByDefault ? allowed | open : allowed;
  }

  #current(): AccessRules {
    this.#rules ??= this.#read();
    return this.#rules;
  }
}
