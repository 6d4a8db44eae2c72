/**
 * The durable consumer of one group on one filter, as this node uses it: made when the first member joins, made again when it is gone, told
 * what members still hold. All nodes with members pull from the same one; it ends by itself when nobody has done so for a while.
 */
import { createHash } from 'node:crypto';
import type { Msg, NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { GroupTake } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { type Place, placeOf } from './consumed.ts';
import { type MemberGroup, PullingMember } from './group-member.ts';
import { HeldMessage, type Holder, IN_PROGRESS } from './group-message.ts';
import { ApiError, type Requests, UnavailableError } from './jetstream.ts';
import { LOG_PREFIX, LOG_STREAM, type LogRecords } from './log-record.ts';
import { RecentMessages } from './recent.ts';

const CALL_MILLISECONDS = 5_000;
const FIRST_RETRY_MILLISECONDS = 100;
const LONGEST_RETRY_MILLISECONDS = 2_000;
const NANOSECONDS = 1e9;
const NANOSECONDS_PER_MILLISECOND = 1e6;
const ALREADY_EXISTS = 10_148;
/** Requests of all members in the cluster that may wait. */
const MAXIMUM_WAITING = 65_536;
/** nats-server writes a consumer's state about ten times a second. */
const REMEMBERED = 2_048;
/** Characters of a name that JetStream is told for people to read. */
const READABLE_CHARACTERS = 512;

interface ConsumerInfo {
  readonly created: string;
  readonly config: { readonly ack_wait?: number; readonly inactive_threshold?: number };
  readonly delivered: { readonly stream_seq: number };
  readonly num_pending: number;
  readonly num_ack_pending: number;
}

export interface GroupOptions {
  /** For messages. */
  readonly feed: NatsConnection;
  /** For everything that must not wait behind them. */
  readonly control: Requests;
  readonly records: LogRecords;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long a message stays with a node that says nothing. */
  readonly ackWaitSeconds: number;
  /** How long a group outlives its last member. */
  readonly retentionSeconds: number;
  /** Publishes on the control connection, now or when it is back. */
  readonly tell: (subject: string, word: string) => void;
  readonly acknowledge: (message: { readonly token: string }, patienceMs: number) => Promise<void>;
}

export class GroupConsumer implements MemberGroup, Holder {
  readonly group: string;
  readonly filter: string;
  readonly name: string;
  readonly nextSubject: string;
  readonly #options: GroupOptions;
  readonly #subjects: readonly string[];
  readonly #ended: () => void;
  readonly #members = new Set<PullingMember>();
  /** By position, in the order in which the server was told of them. */
  readonly #held = new Map<number, HeldMessage>();
  /** Acknowledged: a nats-server that is killed forgets what it has not written yet, and hands these out once more. */
  readonly #done = new RecentMessages(REMEMBERED);
  #making: Promise<void> | undefined;
  #isReady = false;
  /** Creation time of the consumer: another one is another consumer. */
  #created = '';
  /** Highest position that was handed out, as far as this node knows. */
  #highest = 0;

  /** `subjects`: the filter, encoded; `ended` is called when this node has neither members nor messages of the group any more. */
  constructor(
    options: GroupOptions,
    { filter, group, subjects }: { group: string; filter: string; subjects: readonly string[] },
    ended: () => void,
  ) {
    this.#options = options;
    this.group = group;
    this.filter = filter;
    this.#subjects = subjects;
    this.#ended = ended;
    this.name = consumerName(group, subjects);
    this.nextSubject = `$JS.API.CONSUMER.MSG.NEXT.${LOG_STREAM}.${this.name}`;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  get ready(): Promise<void> {
    return this.#isReady ? Promise.resolve() : this.#make();
  }

  get hasMembers(): boolean {
    return this.#members.size > 0;
  }

  join(take: GroupTake): PullingMember {
    const member = new PullingMember(this, this.#options.feed, take);
    this.#members.add(member);
    if (!this.#isReady) this.#makeSoon();
    return member;
  }

  left(member: PullingMember): void {
    this.#members.delete(member);
    this.#endIfIdle();
  }

  hold(message: Msg, take: GroupTake): void {
    const { clock, counters, records } = this.#options;
    const token = message.reply ?? '';
    const place = placeOf(token);
    if (place !== undefined && this.#isKnown(place, token)) return;
    const record =
      place && records.ofConsumed(message, place.sequence, Math.floor(place.stamp / NANOSECONDS_PER_MILLISECOND));
    if (place !== undefined && place.sequence > this.#highest) this.#highest = place.sequence;
    if (place === undefined || record === undefined) {
      counters.dropped.notMqtt++;
      if (place !== undefined) this.tell(token, '');
      return;
    }
    const held = new HeldMessage(this, place, token, clock.now());
    this.#held.set(held.sequence, held);
    take(held, record);
  }

  /** Handed out although a member here has it, or has had it. */
  #isKnown({ sequence, stamp }: Place, token: string): boolean {
    const held = this.#held.get(sequence);
    if (held?.stamp === stamp) held.token = token;
    else if (this.#done.has(sequence, stamp)) this.tell(token, '');
    else return false;
    return true;
  }

  give(message: HeldMessage, isDone: boolean): boolean {
    const { sequence } = message;
    const isHeld = this.#held.get(sequence) === message && this.#held.delete(sequence);
    if (isHeld && isDone) this.#done.add(sequence, message.stamp);
    if (this.#held.size === 0) this.#endIfIdle();
    return isHeld;
  }

  tell(token: string, word: string): void {
    this.#options.tell(token, word);
  }

  acknowledgeForCertain(message: HeldMessage): Promise<void> {
    return this.#options.acknowledge(message, this.#options.ackWaitSeconds * 1000);
  }

  /** Called a few times per ack wait: what a client works on for long is not given to another one. */
  renew(now: number): void {
    const due = now - (this.#options.ackWaitSeconds * 1000) / 4;
    for (const message of this.#held.values()) {
      if (message.toldAt > due) return;
      message.toldAt = now;
      this.#held.delete(message.sequence);
      this.#held.set(message.sequence, message);
      this.tell(message.token, IN_PROGRESS);
    }
  }

  look(): void {
    for (const member of this.#members) member.look();
  }

  /** The consumer has another leader, which knows nothing of requests; or the node's connection is another one. */
  restart(isNewConnection: boolean): void {
    for (const member of this.#members) member.restart(isNewConnection);
  }

  suspect(): void {
    if (!this.#isReady) return;
    this.#isReady = false;
    // Not at once: what is refused again and again would go round and round.
    this.#options.clock.after(FIRST_RETRY_MILLISECONDS, () => this.#makeSoon());
  }

  async info(): Promise<{ pending: number; unacknowledged: number }> {
    const call = `CONSUMER.INFO.${LOG_STREAM}.${this.name}`;
    const { num_ack_pending, num_pending } = await this.#options.control.api<ConsumerInfo>(call);
    return { pending: num_pending, unacknowledged: num_ack_pending };
  }

  #endIfIdle(): void {
    if (this.#members.size === 0 && this.#held.size === 0) this.#ended();
  }

  #makeSoon(): void {
    this.#make().catch(() => {
      // No member is left that would need it.
    });
  }

  /** One attempt at a time, until it succeeds or the last member has left. */
  #make(): Promise<void> {
    this.#making ??= this.#makeUntilAnswered().finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  async #makeUntilAnswered(): Promise<void> {
    const { clock, log } = this.#options;
    for (let wait = FIRST_RETRY_MILLISECONDS; ; wait = Math.min(wait * 2, LONGEST_RETRY_MILLISECONDS)) {
      if (this.#members.size === 0) throw new Error('the group has no members here');
      try {
        this.#made(await this.#makeOrFind());
        return;
      } catch (error) {
        if (!(error instanceof UnavailableError))
          log.warn(
            { event: 'group.notMade', consumer: this.name, err: error },
            'The consumer of a group cannot be made',
          );
      }
      await new Promise<void>((resolve) => clock.after(wait, resolve));
    }
  }

  #made({ created, delivered }: ConsumerInfo): void {
    const { counters, log } = this.#options;
    if (this.#created !== '' && this.#created !== created) {
      counters.groupsRemade++;
      log.warn({ event: 'group.remade', consumer: this.name }, 'The consumer of a group was gone and was made again');
    }
    this.#created = created;
    this.#highest = Math.max(this.#highest, delivered.stream_seq);
    this.#isReady = true;
    this.restart(false);
  }

  async #makeOrFind(): Promise<ConsumerInfo> {
    const { control, log } = this.#options;
    const config = await this.#config();
    try {
      const call = `CONSUMER.CREATE.${LOG_STREAM}.${this.name}`;
      return await control.api<ConsumerInfo>(
        call,
        { stream_name: LOG_STREAM, action: 'create', config },
        CALL_MILLISECONDS,
      );
    } catch (error) {
      if (!(error instanceof ApiError && error.errorCode === ALREADY_EXISTS)) throw error;
    }
    // Made by a node with other settings, or made again.
    const found = await control.api<ConsumerInfo>(`CONSUMER.INFO.${LOG_STREAM}.${this.name}`, '', CALL_MILLISECONDS);
    for (const setting of ['ack_wait', 'inactive_threshold'] as const) {
      if (found.config[setting] === config[setting]) continue;
      log.warn(
        { event: 'group.differs', consumer: this.name, setting, wanted: config[setting], found: found.config[setting] },
        'The consumer of a group has other settings than configured; it is left as it is',
      );
    }
    return found;
  }

  async #config(): Promise<Record<string, unknown> & { ack_wait: number; inactive_threshold: number }> {
    const { ackWaitSeconds, retentionSeconds } = this.#options;
    const subjects = this.#subjects.map((subject) => LOG_PREFIX + subject);
    const [only = ''] = subjects;
    return {
      durable_name: this.name,
      description: `$share/${readable(this.group)}/${readable(this.filter)}`,
      metadata: { 'supermq-group': readable(this.group), 'supermq-filter': readable(this.filter) },
      ack_policy: 'explicit',
      ack_wait: ackWaitSeconds * NANOSECONDS,
      max_ack_pending: -1,
      max_deliver: -1,
      max_waiting: MAXIMUM_WAITING,
      inactive_threshold: retentionSeconds * NANOSECONDS,
      ...(subjects.length === 1 ? { filter_subject: only } : { filter_subjects: subjects }),
      ...(await this.#startingPoint()),
    };
  }

  /** A new group begins now. One that is made again goes on behind what was handed out; in a log that was made anew, at its start. */
  async #startingPoint(): Promise<object> {
    if (this.#highest === 0) return { deliver_policy: 'new' };
    const { state } = await this.#options.control.api<{ state: { last_seq: number } }>(`STREAM.INFO.${LOG_STREAM}`);
    const isSetBack = state.last_seq < this.#highest;
    return isSetBack
      ? { deliver_policy: 'all' }
      : { deliver_policy: 'by_start_sequence', opt_start_seq: this.#highest + 1 };
  }
}

/** The same on every node with the same topic prefix; any group is legal. `subjects`: the filter, encoded. */
export function consumerName(group: string, subjects: readonly string[]): string {
  // No name of a group contains a slash, no subject a space.
  const key = `${group}/${subjects.join(' ')}`;
  return `group-${createHash('sha256').update(key).digest('base64url').slice(0, 22)}`;
}

function readable(text: string): string {
  return text.length <= READABLE_CHARACTERS ? text : `${text.slice(0, READABLE_CHARACTERS)}…`;
}
