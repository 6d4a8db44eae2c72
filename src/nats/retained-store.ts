/**
 * Retained messages in a stream of one message per topic. Each write is a compare-and-swap that never puts an earlier message of the log
 * over a later one, so that nodes that write at the same time agree; a removed message leaves a tombstone for a while, for the same reason.
 */
import { BoundedCache } from '../bounded-cache.ts';
import type { LogOutcome, RetainedCursor, RetainedPage, RetainedPut, RetainedStore } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { NatsRoute } from './bus.ts';
import { ORIGIN_HEADER, PROPERTIES_HEADER, QOS_HEADER, readyHeaders } from './envelope.ts';
import type { Requests } from './jetstream.ts';
import type { LogRecords } from './log-record.ts';
import { answerOf, isTemporary, outcomeOf } from './publish-answer.ts';
import {
  LOG_HEADER,
  logPosition,
  RETAINED_PREFIX,
  RETAINED_STREAM,
  RetainedPages,
  SEQUENCE_HEADER,
} from './retained-page.ts';
import type { StreamQuota } from './stream-quota.ts';
import type { SubjectMap } from './subject.ts';

const WRONG_REVISION = 10_071;
/** How long it stays known that a topic's message was removed: longer than any node may be late with an earlier message. */
const TOMBSTONE_SECONDS = 600;
/** As in the log: clocks differ, and expiry is decided at delivery. */
const TTL_MARGIN_SECONDS = 3_600;
const FIRST_RETRY_MILLISECONDS = 100;
const LONGEST_RETRY_MILLISECONDS = 2_000;
/** Characters of subjects whose revision is remembered: about 25,000 usual ones. */
const REVISION_CHARACTERS = 2 * 1024 * 1024;

/** What stands in a topic's place. */
interface Place {
  /** What the next write must expect; 0 = nothing is there. */
  revision: number;
  /** Position in the log of what is there; 0 = not known. */
  sequence: number;
  /** Identity of that log. */
  log: string;
}

/** Puts for one topic: one is written, the latest of the others waits. */
interface Queue {
  next: RetainedPut | undefined;
  /** Who waits for `next`, or a later one. */
  waiting: Array<(outcome: LogOutcome) => void>;
}

export interface NatsRetainedStoreOptions {
  readonly quota: StreamQuota;
  readonly control: Requests;
  readonly pages: Requests;
  readonly records: LogRecords;
  readonly subjects: SubjectMap;
  readonly clock: Clock;
  readonly replicas: number;
  /** Identity of the log, as its leader told last. */
  readonly logIdentity: () => string;
  /** Asks the leader for the identity of the log and where it ends. */
  readonly askLog: () => Promise<{ readonly last: number }>;
}

export class NatsRetainedStore implements RetainedStore {
  readonly #options: NatsRetainedStoreOptions;
  readonly #pages: RetainedPages;
  readonly #queues = new Map<string, Queue>();
  readonly #places = new BoundedCache<Place>(REVISION_CHARACTERS);
  #isClosed = false;

  constructor(options: NatsRetainedStoreOptions) {
    this.#options = options;
    const { clock, control: leader, logIdentity, pages, records, replicas, subjects } = options;
    this.#pages = new RetainedPages({
      pages,
      leader,
      records,
      subjects,
      clock,
      logIdentity,
      isAlone: replicas === 1,
    });
  }

  put(message: RetainedPut, done: (outcome: LogOutcome) => void): void {
    const { subject } = message.route as NatsRoute; // routes come from NatsBus.route
    const known = this.#queues.get(subject);
    if (known === undefined) {
      const queue = { next: message, waiting: [done] };
      this.#queues.set(subject, queue);
      void this.#writeAll(subject, queue);
      return;
    }
    if (known.next === undefined || known.next.sequence < message.sequence) known.next = message;
    known.waiting.push(done);
  }

  page(filter: string, from: RetainedCursor, since: number): Promise<RetainedPage> {
    return this.#pages.page(filter, from, since);
  }

  /** The node's lease is over: nothing that waits is written any more, and nobody is told. */
  abandon(): void {
    for (const queue of this.#queues.values()) {
      queue.next = undefined;
      queue.waiting = [];
    }
    this.#queues.clear();
  }

  close(): void {
    this.#isClosed = true;
    this.abandon();
  }

  async #writeAll(subject: string, queue: Queue): Promise<void> {
    while (queue.next !== undefined) {
      const message = queue.next;
      const { waiting } = queue;
      queue.next = undefined;
      queue.waiting = [];
      const outcome = await this.#write(subject, queue, message);
      if (outcome === undefined) return;
      for (const done of waiting) done(outcome);
    }
    if (this.#queues.get(subject) === queue) this.#queues.delete(subject);
  }

  /** Tries until it is answered; undefined when it was abandoned meanwhile. */
  async #write(subject: string, queue: Queue, message: RetainedPut): Promise<LogOutcome | undefined> {
    for (let wait = FIRST_RETRY_MILLISECONDS; ; wait = Math.min(wait * 2, LONGEST_RETRY_MILLISECONDS)) {
      try {
        const outcome = await this.#writeOnce(subject, message);
        if (outcome !== undefined) return outcome;
        wait = FIRST_RETRY_MILLISECONDS;
        continue;
      } catch {
        // Nobody answered, or not now.
      }
      await new Promise((resolve) => setTimeout(resolve, wait).unref());
      if (this.#isClosed || this.#queues.get(subject) !== queue) return undefined;
    }
  }

  /** Undefined: something else stood there; the place is known now. */
  async #writeOnce(subject: string, message: RetainedPut): Promise<LogOutcome | undefined> {
    const place = this.#placeOf(subject);
    if (place.log !== this.#options.logIdentity()) place.sequence = 0;
    if (place.sequence >= message.sequence) {
      // Seldom, so it is asked for: the log may have been set back.
      await this.#look(subject, place, message);
      if (place.sequence >= message.sequence) return 'stored';
    }
    const { control, quota } = this.#options;
    if (place.revision === 0 && message.payload.length > 0 && !(await quota.hasRoom(message.payload.length))) {
      // Perhaps it takes the place of another one, which is not known here.
      await this.#look(subject, place, message);
      return place.revision === 0 ? 'full' : undefined;
    }
    const headers = readyHeaders(this.#lines(message, place.revision));
    const reply = await control.request(RETAINED_PREFIX + subject, message.payload, headers);
    const { error, seq } = answerOf(reply.data);
    if (error === undefined && seq !== undefined) {
      place.revision = seq;
      place.sequence = message.sequence;
      place.log = this.#options.logIdentity();
      return 'stored';
    }
    if (error?.err_code === WRONG_REVISION) {
      await this.#look(subject, place, message);
      return undefined;
    }
    if (error === undefined || isTemporary(error)) throw new Error('the retained message cannot be written now');
    return outcomeOf(error);
  }

  #placeOf(subject: string): Place {
    const known = this.#places.get(subject);
    if (known !== undefined) return known;
    const place = { revision: 0, sequence: 0, log: '' };
    this.#places.add(subject, place);
    return place;
  }

  /** What stands there, by the leader. */
  async #look(subject: string, place: Place, message: RetainedPut): Promise<void> {
    const { askLog, control, logIdentity } = this.#options;
    const stored = await control.getMessage(RETAINED_STREAM, { last_by_subj: RETAINED_PREFIX + subject });
    const block = Buffer.from(stored?.hdrs ?? '', 'base64').toString('latin1');
    let sequence = logPosition(block, logIdentity());
    if (sequence >= message.sequence) {
      // Before giving way to a later one: it may be of a log that is no more.
      const { last } = await askLog();
      sequence = logPosition(block, logIdentity());
      if (sequence > last) sequence = 0;
    }
    place.revision = stored?.seq ?? 0;
    place.sequence = sequence;
    place.log = logIdentity();
  }

  #lines({ expirySeconds, extras, payload, qos, sequence }: RetainedPut, revision: number): string {
    const { origin, properties } = extras;
    let lines = `Nats-Expected-Last-Subject-Sequence: ${revision}\r\n${SEQUENCE_HEADER}: ${sequence}\r\n`;
    lines += `${LOG_HEADER}: ${this.#options.logIdentity()}\r\n${QOS_HEADER}: ${qos}\r\n`;
    if (payload.length === 0) return `${lines}Nats-TTL: ${TOMBSTONE_SECONDS}s\r\n`;
    if (origin !== '') lines += `${ORIGIN_HEADER}: ${origin}\r\n`;
    if (properties.length > 0) lines += `${PROPERTIES_HEADER}: ${properties.toString('base64')}\r\n`;
    if (expirySeconds !== undefined) lines += `Nats-TTL: ${expirySeconds + TTL_MARGIN_SECONDS}s\r\n`;
    return lines;
  }
}
