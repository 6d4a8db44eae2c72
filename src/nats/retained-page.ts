/**
 * Reads retained messages: one topic by a question to the leader, a filter that matches few by one look at the last message of each
 * topic, a filter that matches many in pages. Nothing is kept but pages that several readers want at the same time.
 */
import type { Msg } from 'nats';
import type { RetainedCursor, RetainedMessage, RetainedPage } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import { type Requests, type StoredMessage, UnavailableError } from './jetstream.ts';
import type { LogRecords } from './log-record.ts';
import { headerBlock, lastHeader } from './raw-message.ts';
import { RetainedScans } from './retained-scan.ts';
import type { SubjectMap } from './subject.ts';

export const RETAINED_STREAM = 'SMQ_RETAINED';
export const RETAINED_PREFIX = '$SMQ.retained.';
/** Position in the log, and which log. */
export const SEQUENCE_HEADER = 'Mqtt-Sequence';
export const LOG_HEADER = 'Mqtt-Log';

/** Of a page: small enough that taking it in does not show in others' latency. */
const PAGE_MESSAGES = 512;
const PAGE_BYTES = 256 * 1024;
const PAGE_MILLISECONDS = 2_000;
/** Messages that a page asks the leader for, one by one, when a replica lags; beyond, another page follows. */
const ASKED_OF_LEADER = 64;
/** Pages that are fetched at the same time; further ones wait their turn, in the order in which they were asked for. */
const PAGES_AT_ONCE = 8;
/** A filter that matched too much for one look is not looked up at once again for so long. */
const BROAD_MILLISECONDS = 60_000;
const BROAD_FILTERS = 1_000;
/** Fetched pages that are kept for others who read the same, at most this many and this long. */
const KEPT_PAGES = 16;
const KEPT_MILLISECONDS = 2_000;
/** In a millisecond. */
const NANOSECONDS = 1e6;
const TOO_MANY = 'NATS/1.0 413';
const MESSAGE = 'NATS/1.0\r\n';

export interface RetainedPagesOptions {
  /** For what may be much. */
  readonly pages: Requests;
  /** For the leader's word. */
  readonly leader: Requests;
  readonly records: LogRecords;
  readonly subjects: SubjectMap;
  readonly clock: Clock;
  /** The stream has one replica: every answer is the leader's. */
  readonly isAlone: boolean;
  /** Identity of the log, as its leader told last. */
  readonly logIdentity: () => string;
}

interface KeptPage {
  /** When it was asked for; Infinity while it waits for its turn. */
  startedAt: number;
  page: Promise<RetainedPage>;
}

/** What one answer of the server holds. */
interface Answer {
  readonly messages: RetainedMessage[];
  /** Of the last message, decodable or not; the question's own position when there is none. */
  reached: number;
  count: number;
  /** Messages that match behind it, as the replica knows. */
  pending: number;
  isTooMany: boolean;
}

export class RetainedPages {
  readonly #options: RetainedPagesOptions;
  readonly #scans: RetainedScans;
  readonly #kept = new Map<string, KeptPage>();
  /** Filters that matched too much, and until when that is believed. */
  readonly #broadFilters = new Map<string, number>();
  readonly #waiting: Array<() => void> = [];
  #underWay = 0;
  #cancelForgetting: CancelTimer | undefined;

  constructor(options: RetainedPagesOptions) {
    this.#options = options;
    const { clock, pages } = options;
    this.#scans = new RetainedScans({ pages, clock, stream: RETAINED_STREAM });
  }

  /** @throws UnavailableError */
  page(filter: string, from: RetainedCursor, since: number): Promise<RetainedPage> {
    const key = `${from.position} ${from.isBroad} ${filter}`;
    const known = this.#kept.get(key);
    if (known !== undefined && known.startedAt >= since) return known.page;
    const kept: KeptPage = { startedAt: Number.POSITIVE_INFINITY, page: noPage };
    kept.page = this.#inTurn(() => {
      kept.startedAt = this.#options.clock.now();
      return this.#fetch(filter, from);
    });
    this.#keep(key, kept);
    return kept.page;
  }

  #keep(key: string, kept: KeptPage): void {
    this.#forgetOld(KEPT_PAGES - 1);
    this.#forgetLater();
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    kept.page.catch(() => {
      if (this.#kept.get(key) === kept) this.#kept.delete(key);
    });
  }

  #forgetLater(): void {
    this.#cancelForgetting ??= this.#options.clock.after(KEPT_MILLISECONDS, () => {
      this.#cancelForgetting = undefined;
      this.#forgetOld(KEPT_PAGES);
      if (this.#kept.size > 0) this.#forgetLater();
    });
  }

  /** Oldest first. */
  #forgetOld(maximum: number): void {
    const limit = this.#options.clock.now() - KEPT_MILLISECONDS;
    for (const [old, { startedAt }] of this.#kept) {
      if (this.#kept.size <= maximum && startedAt > limit) break;
      this.#kept.delete(old);
    }
  }

  async #inTurn<T>(fetch: () => Promise<T>): Promise<T> {
    if (this.#underWay >= PAGES_AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#underWay++;
    try {
      return await fetch();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#underWay--;
      else next();
    }
  }

  async #fetch(filter: string, from: RetainedCursor): Promise<RetainedPage> {
    const patterns = this.#options.subjects.encodeFilter(filter) ?? [];
    const [pattern] = patterns;
    if (pattern === undefined) return { messages: [], next: undefined };
    if (!/[+#]/.test(filter)) return { messages: await this.#exact(pattern, from.position), next: undefined };
    if (!from.isBroad && !this.#isBroad(filter)) {
      const answer = await this.#ask(
        { multi_last: patterns.map((subject) => RETAINED_PREFIX + subject) },
        from.position,
      );
      if (!answer.isTooMany) return this.#toPage(answer, patterns, false);
      this.#rememberBroad(filter);
    }
    return this.#broad(patterns, from.position);
  }

  #isBroad(filter: string): boolean {
    return (this.#broadFilters.get(filter) ?? 0) > this.#options.clock.now();
  }

  #rememberBroad(filter: string): void {
    if (this.#broadFilters.size >= BROAD_FILTERS) this.#broadFilters.clear();
    this.#broadFilters.set(filter, this.#options.clock.now() + BROAD_MILLISECONDS);
  }

  /** The leader's word. */
  async #exact(pattern: string, after: number): Promise<RetainedMessage[]> {
    const stored = await this.#options.leader.getMessage(RETAINED_STREAM, { last_by_subj: RETAINED_PREFIX + pattern });
    const message = stored === undefined || stored.seq <= after ? undefined : this.#ofStored(stored);
    return message === undefined ? [] : [message];
  }

  /** `a/#` matches `a` too, which is asked for once, with the first page. */
  async #broad([pattern = '', parent]: readonly string[], after: number): Promise<RetainedPage> {
    const extra = parent !== undefined && after === 0 ? await this.#exact(parent, 0) : [];
    const answer = await this.#scan(RETAINED_PREFIX + pattern, after);
    answer.messages.unshift(...extra);
    return this.#toPage(answer, [pattern], true);
  }

  async #scan(filterSubject: string, after: number): Promise<Answer> {
    const answer: Answer = { messages: [], reached: after, count: 0, pending: 0, isTooMany: false };
    try {
      const page = await this.#scans.page(filterSubject, after, (message, { sequence, stamp }) => {
        const { length } = message.data;
        const found =
          length === 0
            ? undefined
            : this.#options.records.ofConsumed(message, sequence, Math.floor(stamp / NANOSECONDS));
        if (found !== undefined) answer.messages.push(this.#toMessage(found, headerBlock(message)));
      });
      answer.reached = page.reached;
      answer.pending = page.isEnd ? 0 : 1;
      return answer;
    } catch {
      // No consumer to be had (a limit, a permission), it is gone, or a message is larger than its pages. Slower, but the same.
      answer.messages.length = 0;
      return this.#ask({ next_by_subj: filterSubject }, after);
    }
  }

  async #toPage(answer: Answer, patterns: readonly string[], isBroad: boolean): Promise<RetainedPage> {
    const { messages, reached } = answer;
    if (answer.pending > 0) return { messages, next: { position: reached, isBroad } };
    // A replica's silence proves nothing; the leader's does.
    if (this.#options.isAlone) return { messages, next: undefined };
    return this.#completeByLeader(messages, patterns, { position: reached, isBroad });
  }

  /** What the replica did not have yet takes the place of what it still had. */
  async #completeByLeader(
    messages: RetainedMessage[],
    patterns: readonly string[],
    { isBroad, position }: RetainedCursor,
  ): Promise<RetainedPage> {
    const bySubject = new Map(
      messages.map((message) => [this.#options.subjects.encodeTopic(message.topic.name), message]),
    );
    let reached = position;
    for (let count = 0; count < ASKED_OF_LEADER; count++) {
      const more = await this.#nextOfLeader(patterns, reached);
      if (more === undefined) return { messages: [...bySubject.values()], next: undefined };
      reached = more.seq;
      const subject = more.subject.slice(RETAINED_PREFIX.length);
      bySubject.delete(subject);
      const message = this.#ofStored(more);
      if (message !== undefined) bySubject.set(subject, message);
    }
    return { messages: [...bySubject.values()], next: { position: reached, isBroad } };
  }

  async #nextOfLeader(patterns: readonly string[], after: number): Promise<StoredMessage | undefined> {
    const found = await Promise.all(
      patterns.map((pattern) =>
        this.#options.leader.getMessage(RETAINED_STREAM, { seq: after + 1, next_by_subj: RETAINED_PREFIX + pattern }),
      ),
    );
    return found.filter((message) => message !== undefined).sort((a, b) => a.seq - b.seq)[0];
  }

  async #ask(question: object, after: number): Promise<Answer> {
    const answer: Answer = { messages: [], reached: after, count: 0, pending: 0, isTooMany: false };
    const query = { ...question, seq: after + 1, batch: PAGE_MESSAGES, max_bytes: PAGE_BYTES };
    await this.#options.pages.collect(
      `$JS.API.DIRECT.GET.${RETAINED_STREAM}`,
      JSON.stringify(query),
      (message) => this.#take(message, answer),
      PAGE_MILLISECONDS,
    );
    return answer;
  }

  /** True at the end of the answer. */
  #take(message: Msg, answer: Answer): boolean {
    const block = headerBlock(message);
    if (message.data.length === 0 && !block.startsWith(MESSAGE)) {
      answer.pending = Number(lastHeader(block, 'Nats-Num-Pending') ?? 0);
      answer.isTooMany = block.startsWith(TOO_MANY);
      if (block.startsWith('NATS/1.0 408'))
        throw new UnavailableError('the question for retained messages was refused');
      return true;
    }
    answer.count++;
    answer.reached = Number(lastHeader(block, 'Nats-Sequence'));
    const found = message.data.length === 0 ? undefined : this.#options.records.ofDirect(message);
    if (found !== undefined) answer.messages.push(this.#toMessage(found, block));
    return false;
  }

  #ofStored(stored: StoredMessage): RetainedMessage | undefined {
    if (stored.data === undefined || stored.data === '') return undefined; // removed, or expired
    const found = this.#options.records.ofStored(stored);
    const block = Buffer.from(stored.hdrs ?? '', 'base64').toString('latin1');
    return found === undefined ? undefined : this.#toMessage(found, block);
  }

  #toMessage(found: NonNullable<ReturnType<LogRecords['ofDirect']>>, block: string): RetainedMessage {
    const { expirySeconds, extras, payload, qos, sequence: position, storedAt, topic } = found;
    const { properties = nothing, origin = '' } = extras ?? {};
    const sequence = logPosition(block, this.#options.logIdentity());
    return {
      position,
      sequence,
      topic,
      payload,
      qos,
      extras: { properties, origin, retain: true },
      expirySeconds,
      storedAt,
    };
  }
}

const nothing = Buffer.alloc(0);
const noPage: Promise<RetainedPage> = Promise.resolve({ messages: [], next: undefined });

/** Position in the log of this identity; 0 for none. */
export function logPosition(block: string, identity: string): number {
  if (lastHeader(block, LOG_HEADER) !== identity) return 0;
  const sequence = Number(lastHeader(block, SEQUENCE_HEADER));
  return Number.isSafeInteger(sequence) ? sequence : 0;
}
