/**
 * The GroupLog on JetStream: one durable consumer per group and filter (group-consumer.ts), pulled for each member (group-member.ts). Messages
 * come on the node's message connection; what is said of them goes over the control connection.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { GroupLag, GroupLog, GroupMember, GroupTake } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { GroupConsumer, type GroupOptions } from './group-consumer.ts';
import { HEARTBEAT_SECONDS } from './group-member.ts';
import type { Requests } from './jetstream.ts';
import { LOG_STREAM, LogRecords } from './log-record.ts';
import type { SubjectMap } from './subject.ts';

/** Sweeps of held messages in the time that the server waits for a word of them. */
const SWEEPS_PER_ACK_WAIT = 12;
const RETRY_MILLISECONDS = 250;
/** An acknowledgement of an earlier node's: as long as an election takes; its consumer may be long gone. */
const EARLIER_MILLISECONDS = 10_000;
const LAG_GROUPS = 100;
const LAG_MILLISECONDS = 5_000;
/** Words kept while the control connection is away; beyond, the server gives the oldest messages to others after the ack wait. */
const MAXIMUM_LATE = 65_536;
const LEADER_ADVISORY = `$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.${LOG_STREAM}.*`;

export interface NatsGroupLogOptions {
  readonly feed: NatsConnection;
  readonly control: Requests;
  readonly subjects: SubjectMap;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly log: Logger;
  readonly ackWaitSeconds: number;
  readonly retentionSeconds: number;
  /** Groups that this node serves at most. */
  readonly maximumGroups: number;
}

export class NatsGroupLog implements GroupLog {
  readonly #options: NatsGroupLogOptions;
  readonly #groupOptions: GroupOptions;
  readonly #groups = new Map<string, GroupConsumer>();
  readonly #timers: CancelTimer[];
  #isConnected = true;
  #late: Array<readonly [subject: string, word: string]> = [];
  #lags: Promise<readonly GroupLag[]> = Promise.resolve([]);
  #laggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: NatsGroupLogOptions) {
    this.#options = options;
    const { ackWaitSeconds, clock, control, subjects } = options;
    this.#groupOptions = {
      ...options,
      records: new LogRecords(subjects),
      tell: (subject, word) => this.#tell(subject, word),
      acknowledge: (message, patienceMs) => this.#acknowledge(message, patienceMs),
    };
    this.#timers = [
      clock.every((ackWaitSeconds * 1000) / SWEEPS_PER_ACK_WAIT, () => {
        const now = clock.now();
        for (const group of this.#groups.values()) group.renew(now);
      }),
      clock.every(HEARTBEAT_SECONDS * 1000, () => {
        for (const group of this.#groups.values()) group.look();
      }),
    ];
    control.connection.subscribe(LEADER_ADVISORY, {
      callback: (error, { subject }) => {
        if (error === null) this.#elected(subject.slice(subject.lastIndexOf('.') + 1));
      },
    });
  }

  get count(): number {
    return this.#groups.size;
  }

  accepts(group: string, filter: string): boolean {
    return this.#groups.size < this.#options.maximumGroups || this.#groups.has(keyOf(group, filter));
  }

  join(group: string, filter: string, take: GroupTake): GroupMember {
    return this.#groupOf(group, filter).join(take);
  }

  acknowledge(token: string): Promise<void> {
    return this.#acknowledge({ token }, EARLIER_MILLISECONDS);
  }

  lags(): Promise<readonly GroupLag[]> {
    const now = this.#options.clock.now();
    if (now - this.#laggedAt >= LAG_MILLISECONDS) {
      this.#laggedAt = now;
      this.#lags = this.#askLags();
    }
    return this.#lags;
  }

  /** The message connection is back: what waited for it at the server belongs to the old one. */
  feedReconnected(): void {
    for (const group of this.#groups.values()) group.restart(true);
  }

  controlDisconnected(): void {
    this.#isConnected = false;
  }

  controlReconnected(): void {
    this.#isConnected = true;
    for (const [subject, word] of this.#late.splice(0)) this.#tell(subject, word);
  }

  async close(): Promise<void> {
    for (const stop of this.#timers) stop();
  }

  #groupOf(group: string, filter: string): GroupConsumer {
    const key = keyOf(group, filter);
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const subjects = this.#options.subjects.encodeFilter(filter);
    if (subjects === undefined) throw new Error('filter that the log does not carry');
    const made: GroupConsumer = new GroupConsumer(this.#groupOptions, { group, filter, subjects }, () => {
      if (this.#groups.get(key) === made) this.#groups.delete(key);
    });
    this.#groups.set(key, made);
    return made;
  }

  #tell(subject: string, word: string): void {
    const { connection } = this.#options.control;
    if (connection.isClosed()) return;
    if (this.#isConnected) connection.publish(subject, word);
    else if (this.#late.length < MAXIMUM_LATE) this.#late.push([subject, word]);
  }

  async #acknowledge(message: { readonly token: string }, patienceMs: number): Promise<void> {
    const { clock, control } = this.#options;
    const end = clock.now() + patienceMs;
    for (;;) {
      try {
        await control.request(message.token, '');
        return;
      } catch {
        // An election, or NATS is away: asked again. A group that has ended never answers.
        if (clock.now() >= end || control.connection.isClosed()) return;
      }
      await new Promise<void>((resolve) => clock.after(RETRY_MILLISECONDS, resolve));
    }
  }

  #elected(consumer: string): void {
    for (const group of this.#groups.values()) if (group.name === consumer) group.restart(false);
  }

  async #askLags(): Promise<GroupLag[]> {
    const served = [...this.#groups.values()].filter(({ hasMembers }) => hasMembers).slice(0, LAG_GROUPS);
    const lags = await Promise.all(
      served.map(async (consumer) => {
        const { filter, group } = consumer;
        // Nobody answers: the scrape goes on without it.
        const lag = await consumer.info().catch(() => undefined);
        return lag === undefined ? [] : [{ group, filter, ...lag }];
      }),
    );
    return lags.flat();
  }
}

function keyOf(group: string, filter: string): string {
  return `${group}/${filter}`;
}
