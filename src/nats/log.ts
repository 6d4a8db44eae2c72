/**
 * The MessageLog on JetStream: one stream that stores every QoS 1 and 2 message once, its republish as the live feed, batched direct
 * gets for reading, and the leader's own word where an end has to be certain.
 */
import type { NatsConnection } from 'nats';
import type {
  BusSubscription,
  LogEvents,
  LogPage,
  LogPattern,
  LogPublish,
  LogRecord,
  LogState,
  MessageLog,
  SubscriptionRefusal,
} from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { SharedRoundTrip } from './flush.ts';
import { Requests } from './jetstream.ts';
import { LogPublisher } from './log-publisher.ts';
import { LogReader } from './log-reader.ts';
import { LIVE_PREFIX, LOG_PREFIX, LOG_STREAM, LogRecords } from './log-record.ts';
import type { RefusedSubscriptions } from './refused-subscriptions.ts';
import type { SubjectMap } from './subject.ts';
import { askAgainFor } from './wire/connect.ts';

/** Nodes tell each other here that a live copy may be missing. */
const CATCH_UP_SUBJECT = '$SMQ.catchup';
const LEADER_ADVISORY = `$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.${LOG_STREAM}`;
/** A live message so far beyond what the leader has said is none of the log's. */
const PLAUSIBLE_AHEAD = 1_000_000;
const GAP_MILLISECONDS = 50;

interface StreamInfo {
  readonly created: string;
  readonly ts?: string;
  readonly state: { readonly first_seq: number; readonly last_seq: number; readonly messages: number };
}

export interface NatsLogOptions {
  /** Of the stream: with one, every answer is the leader's. */
  readonly replicas: number;
  /** For what may be much: live messages and pages of the log. */
  readonly feed: NatsConnection;
  /** For what must not wait behind it: publishes with their acknowledgements, the leader's answers. */
  readonly control: Requests;
  readonly subjects: SubjectMap;
  /** Of {@link feed}. */
  readonly refusals: RefusedSubscriptions;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly events: LogEvents;
}

export class NatsLog implements MessageLog {
  readonly #options: NatsLogOptions;
  readonly #reads: Requests;
  readonly #reader: LogReader;
  readonly #records: LogRecords;
  readonly #publisher: LogPublisher;
  readonly #flush: SharedRoundTrip<void>;
  readonly #state: SharedRoundTrip<LogState>;
  /** Last sequence, as the leader told last. */
  #knownLast = 0;
  #identity = '';
  /** NATS's clock less ours, milliseconds. */
  #clockOffset = 0;
  #gapTimer: CancelTimer | undefined;
  #tellTimer: CancelTimer | undefined;
  /** Highest position that was stored without being sure of its live copy. */
  #uncertain = 0;

  constructor(options: NatsLogOptions) {
    this.#options = options;
    const { clock, control, feed, refusals, subjects } = options;
    this.#records = new LogRecords(subjects);
    this.#reads = new Requests(feed, clock);
    this.#reader = new LogReader({
      requests: this.#reads,
      records: this.#records,
      counters: options.counters,
      clock,
      isAlone: options.replicas === 1,
      knownLast: () => this.#knownLast,
      next: (pattern, after) => this.readNext(pattern, after),
    });
    this.#publisher = new LogPublisher({
      connection: control.connection,
      clock,
      uncertain: (sequence) => this.#tellGap(sequence),
    });
    this.#flush = new SharedRoundTrip(async () => {
      const judged = refusals.judging();
      await feed.flush();
      judged();
    });
    this.#state = new SharedRoundTrip(() => this.#askState());
    const gap = (): void => this.#gap();
    control.connection.subscribe(CATCH_UP_SUBJECT, { callback: gap });
    control.connection.subscribe(LEADER_ADVISORY, { callback: gap });
  }

  /** As the leader told last; empty before the first {@link state}. */
  get identity(): string {
    return this.#identity;
  }

  publish(message: LogPublish): void {
    this.#publisher.publish(message);
  }

  patterns(filter: string): readonly LogPattern[] | undefined {
    const subjects = this.#options.subjects.encodeFilter(filter);
    return subjects?.map((key) => ({ key, isExact: !/(^|\.)[*>](\.|$)/.test(key) }));
  }

  follow(pattern: LogPattern, take: (record: LogRecord) => void): BusSubscription {
    const { counters, feed, refusals } = this.#options;
    const subject = LIVE_PREFIX + pattern.key;
    refusals.hold(subject);
    const subscription = feed.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) return;
        const record = this.#records.ofLive(message);
        if (record === undefined) counters.dropped.notMqtt++;
        else if (record.sequence > this.#knownLast + PLAUSIBLE_AHEAD) counters.dropped.forgedSequence++;
        else take(record);
      },
    });
    let isHeld = true;
    return {
      askAgain: () => {
        refusals.askAgain(subject);
        askAgainFor(feed, subscription);
      },
      end: () => {
        if (isHeld) refusals.drop(subject);
        isHeld = false;
        if (!feed.isClosed()) subscription.unsubscribe();
      },
    };
  }

  confirm(): Promise<void> {
    return this.#flush.begin();
  }

  refusal({ key }: LogPattern): SubscriptionRefusal | undefined {
    return this.#options.refusals.refusalOf(LIVE_PREFIX + key);
  }

  state(): Promise<LogState> {
    return this.#state.begin();
  }

  read(pattern: LogPattern, after: number, limit: number): Promise<LogPage> {
    return this.#reader.read(pattern, after, limit);
  }

  async readNext({ key }: LogPattern, after: number): Promise<LogRecord | undefined> {
    let from = after;
    for (;;) {
      const stored = await this.#options.control.getMessage(LOG_STREAM, {
        seq: from + 1,
        next_by_subj: LOG_PREFIX + key,
      });
      if (stored === undefined) return undefined;
      const record = this.#records.ofStored(stored);
      if (record !== undefined) return record;
      // No MQTT message: nobody gets it.
      from = stored.seq;
    }
  }

  async readAt(sequence: number): Promise<LogRecord | undefined> {
    const stored = await this.#options.control.getMessage(LOG_STREAM, { seq: sequence });
    return stored === undefined ? undefined : this.#records.ofStored(stored);
  }

  now(): number {
    return this.#options.clock.wall() + this.#clockOffset;
  }

  async settleAll(timeoutMs: number): Promise<void> {
    await Promise.race([
      this.#publisher.settled(),
      new Promise<void>((resolve) => this.#options.clock.after(timeoutMs, resolve)),
    ]);
  }

  /** The node's lease is over: nothing that it has taken goes into the log any more. */
  abandonPublishes(): void {
    this.#publisher.abandon();
  }

  /** NATS does not let this node publish there. */
  publishRefused(subject: string): void {
    this.#publisher.publishRefused(subject);
  }

  /** The control connection is lost: what is under way there goes again. */
  controlDisconnected(): void {
    this.#options.control.disconnected();
    this.#reader.forget();
    this.#publisher.disconnected();
  }

  controlReconnected(): void {
    this.#publisher.reconnected();
    this.#gap();
  }

  feedDisconnected(): void {
    this.#reads.disconnected();
    this.#reader.forget();
  }

  /** Live messages of meanwhile are missing. */
  feedReconnected(): void {
    this.#gap();
  }

  async close(): Promise<void> {
    this.#gapTimer?.();
    this.#tellTimer?.();
    this.#publisher.close();
    this.#reads.close();
    this.#reader.forget();
  }

  async #askState(): Promise<LogState> {
    const asked = this.#options.clock.wall();
    const { created, state, ts } = await this.#options.control.api<StreamInfo>(`STREAM.INFO.${LOG_STREAM}`);
    if (ts !== undefined) this.#clockOffset = Date.parse(ts) - (asked + this.#options.clock.wall()) / 2;
    if (created !== this.#identity || state.last_seq < this.#knownLast) this.#reader.forget();
    // Not the highest ever: a log that was made anew or set back begins lower.
    this.#knownLast = state.last_seq;
    this.#identity = created;
    // An empty stream says first_seq 0 or last_seq + 1.
    const first = state.messages === 0 ? state.last_seq + 1 : state.first_seq;
    return { identity: created, first, last: state.last_seq, isOnlyCopy: this.#options.replicas === 1 };
  }

  /** Tells the other nodes; many messages at once are one message. */
  #tellGap(sequence: number): void {
    const { clock, control } = this.#options;
    this.#uncertain = Math.max(this.#uncertain, sequence);
    this.#tellTimer ??= clock.after(GAP_MILLISECONDS, () => {
      this.#tellTimer = undefined;
      this.#options.events.gap();
      if (!control.connection.isClosed()) control.connection.publish(CATCH_UP_SUBJECT, String(this.#uncertain));
    });
  }

  /** Many signs of one gap are one gap. */
  #gap(): void {
    this.#gapTimer ??= this.#options.clock.after(GAP_MILLISECONDS, () => {
      this.#gapTimer = undefined;
      this.#options.events.gap();
    });
  }
}
