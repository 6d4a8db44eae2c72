/**
 * A stored will is published: claimed, published under its own message id, removed. Whoever finds a claim and nobody behind it does the
 * last two again, and the log stores the message once. At QoS 0 the removal is the claim: at most once.
 */
import type { LogOutcome, MessageLog, NodeLease, Route, WillStore } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { MqttError } from '../mqtt/reason.ts';
import { findMessage } from './find-message.ts';
import { goesThroughLog, makeWill, publishWill, type WillPlaces } from './will.ts';
import { encodeWill, type WillRecord } from './will-record.ts';

/** A will as somebody has read it. */
export interface FoundWill {
  readonly owner: string;
  readonly clientId: string;
  readonly record: WillRecord;
  readonly revision: number;
}

export interface WillPublicationOptions {
  readonly store: WillStore;
  readonly lease: NodeLease;
  readonly log: MessageLog;
  readonly publisher: WillPlaces['publisher'];
  readonly counters: Counters;
  readonly clock: Clock;
  /** A position that the log has passed. */
  readonly position: () => number;
}

/** How long another node has for a will that it has claimed. Then it is done again: the log stores it once. */
const CLAIM_MILLISECONDS = 2_000;

export class WillPublication {
  readonly #options: WillPublicationOptions;
  /** Rejects what waits for the log. */
  readonly #waiting = new Set<(error: Error) => void>();

  constructor(options: WillPublicationOptions) {
    this.#options = options;
  }

  /**
   * True when it is published and gone from the store; false when somebody has changed it meanwhile.
   * @throws Error when nobody answers or the log has no room: then it is to be tried again
   */
  async publish(found: FoundWill): Promise<boolean> {
    const { clientId, owner, record, revision } = found;
    const { counters, lease, log, store } = this.#options;
    const route = this.#routeOf(record.topic);
    if (route === undefined || !goesThroughLog(record)) {
      if (!(await store.remove(owner, clientId, revision))) return false;
      if (route !== undefined) await this.#publish(route, record);
      return true;
    }
    const claimed = record.claim === undefined ? await this.#claim(found) : revision;
    if (claimed === undefined) return false;
    // Whoever was paused meanwhile leaves it to others.
    if (this.#options.clock.now() > lease.deadline) throw new Error('the lease is over');
    const sequence =
      record.claim === undefined
        ? 0
        : await findMessage(log, route.name, { packetId: 0, messageId: record.id, ...record.claim });
    const outcome = await this.#publish(route, record, sequence);
    if (outcome === 'full') throw new Error('the log is full');
    if (outcome !== 'stored') counters.logRefused++;
    await store.remove(owner, clientId, claimed);
    return true;
  }

  /** Another node is publishing it just now. */
  isInHand({ claim }: WillRecord): boolean {
    const { lease, log } = this.#options;
    return claim !== undefined && claim.by !== lease.incarnation && log.now() - claim.at < CLAIM_MILLISECONDS;
  }

  /** The lease is over, or the node stops: nothing of what waits will be answered. */
  abandon(): void {
    for (const reject of this.#waiting) reject(new Error('the node acts no longer'));
    this.#waiting.clear();
  }

  async #claim({ clientId, owner, record, revision }: FoundWill): Promise<number | undefined> {
    const { lease, log, position, store } = this.#options;
    const claim = { by: lease.incarnation, position: position(), at: log.now() };
    return store.save(owner, clientId, encodeWill({ ...record, claim }), revision);
  }

  /** `sequence`: where the log has it already; what follows on that may not have been done. */
  async #publish(route: Route, record: WillRecord, sequence = 0): Promise<LogOutcome> {
    const { log, publisher } = this.#options;
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      const will = makeWill(route, record);
      const done = (outcome: LogOutcome): void => {
        this.#waiting.delete(reject);
        resolve(outcome);
      };
      if (sequence > 0) publisher.stored({ ...will, messageId: record.id }, sequence, done);
      else void publishWill(will, record.id, { publisher, sessions: { log } }).then(done);
    });
  }

  /** Undefined: it cannot be published any more, by other settings than those of its CONNECT. */
  #routeOf(topic: string): Route | undefined {
    try {
      return this.#options.publisher.route(topic);
    } catch (error) {
      if (error instanceof MqttError) return undefined;
      throw error;
    }
  }
}
