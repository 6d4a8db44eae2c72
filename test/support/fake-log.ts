/**
 * A MessageLog whose every answer a test decides: when a publish is settled and how, how many live copies of a message come, and when
 * (or whether) questions are answered. Everything is in memory and nothing is ever forgotten.
 */
import type {
  BusSubscription,
  LogOutcome,
  LogPage,
  LogPattern,
  LogPublish,
  LogRecord,
  LogState,
  MessageLog,
} from '../../src/broker/ports.ts';
import { type Extras, makeTopic } from '../../src/message.ts';
import type { QoS } from '../../src/mqtt/packet.ts';
import { topicMatches } from '../../src/mqtt/topic.ts';

export type Question = 'confirm' | 'state' | 'read' | 'readNext' | 'readAt';

interface Follower {
  readonly pattern: LogPattern;
  readonly take: (record: LogRecord) => void;
}

export interface Appended {
  readonly qos?: QoS;
  readonly payload?: string | Buffer;
  readonly extras?: Extras;
  readonly expirySeconds?: number;
  readonly messageId?: string;
  /** Live copies; default {@link FakeLog.copies}. */
  readonly copies?: number;
}

export class FakeLog implements MessageLog {
  identity = 'fake';
  /** By position, from 1. */
  readonly records: LogRecord[] = [];
  /** Published and not settled. */
  readonly waiting: LogPublish[] = [];
  /** Publishes wait for {@link settleNext}. */
  holdsPublishes = false;
  /** Live copies of each message. */
  copies = 1;
  /** Milliseconds since the epoch. */
  time = 1_700_000_000_000;
  /** Asked before each answer; may wait or reject. */
  gate: (question: Question) => Promise<void> = async () => {};
  /** Questions asked so far. */
  readonly asked: Record<Question, number> = { confirm: 0, state: 0, read: 0, readNext: 0, readAt: 0 };
  /** Positions above it are not known to a replica that answers {@link read}. */
  replicaHas = Number.POSITIVE_INFINITY;
  readonly #followers = new Set<Follower>();
  readonly #lastOn = new Map<string, number>();

  publish(message: LogPublish): boolean {
    this.waiting.push(message);
    if (!this.holdsPublishes) queueMicrotask(() => this.settleNext());
    return true;
  }

  /** Answers the oldest publish that waits. */
  settleNext(outcome: LogOutcome = 'stored'): void {
    const message = this.waiting.shift();
    if (message === undefined) throw new Error('nothing waits');
    this.settle(message, outcome);
  }

  settle(message: LogPublish, outcome: LogOutcome): void {
    if (outcome !== 'stored') return message.settled(outcome, 0);
    const { expirySeconds, extras, messageId, payload, qos, route } = message;
    const known = messageId === '' ? undefined : this.records.find((record) => record.messageId === messageId);
    const { sequence } =
      known ??
      this.append(route.name, {
        qos,
        payload: Buffer.from(payload),
        messageId,
        ...(extras === undefined ? {} : { extras }),
        ...(expirySeconds === undefined ? {} : { expirySeconds }),
      });
    message.settled('stored', sequence);
  }

  /** Stores a message at once, and hands out its live copies. */
  append(topic: string, fields: Appended = {}): LogRecord {
    const { copies = this.copies, expirySeconds, extras, messageId = '', payload = '', qos = 1 } = fields;
    const sequence = this.records.length + 1;
    const record: LogRecord = {
      sequence,
      previous: this.#lastOn.get(topic) ?? 0,
      topic: makeTopic(topic),
      payload: Buffer.from(payload),
      qos,
      extras,
      expirySeconds,
      storedAt: this.time,
      messageId,
    };
    this.records.push(record);
    this.#lastOn.set(topic, sequence);
    for (let copy = 0; copy < copies; copy++) this.deliver(record);
    return record;
  }

  /** One more live copy. */
  deliver(record: LogRecord): void {
    for (const { pattern, take } of [...this.#followers]) if (matches(pattern, record)) take(record);
  }

  get followerCount(): number {
    return this.#followers.size;
  }

  patterns(filter: string): readonly LogPattern[] {
    return [{ key: filter, isExact: !/[+#]/.test(filter) }];
  }

  follow(pattern: LogPattern, take: (record: LogRecord) => void): BusSubscription {
    const follower = { pattern, take };
    this.#followers.add(follower);
    return { askAgain: () => {}, end: () => void this.#followers.delete(follower) };
  }

  confirm(): Promise<void> {
    return this.#ask('confirm');
  }

  refusal(): undefined {
    return undefined;
  }

  async state(): Promise<LogState> {
    await this.#ask('state');
    return { identity: this.identity, first: 1, last: this.records.length, isOnlyCopy: true };
  }

  async read(pattern: LogPattern, after: number, limit: number): Promise<LogPage> {
    await this.#ask('read');
    const last = Math.min(this.records.length, this.replicaHas);
    const found = this.records.slice(after, last).filter((record) => matches(pattern, record));
    const records = found.slice(0, limit);
    const reached = records.at(-1)?.sequence ?? after;
    return { records, upTo: found.length > limit ? reached : Math.max(reached, last, after) };
  }

  async readNext(pattern: LogPattern, after: number): Promise<LogRecord | undefined> {
    await this.#ask('readNext');
    return this.records.find((record) => record.sequence > after && matches(pattern, record));
  }

  async readAt(sequence: number): Promise<LogRecord | undefined> {
    await this.#ask('readAt');
    return this.records[sequence - 1];
  }

  now(): number {
    return this.time;
  }

  async settleAll(): Promise<void> {}

  async close(): Promise<void> {}

  async #ask(question: Question): Promise<void> {
    this.asked[question]++;
    await this.gate(question);
  }
}

function matches({ key }: LogPattern, { topic }: LogRecord): boolean {
  return topicMatches(key, topic.name);
}
