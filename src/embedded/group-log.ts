/**
 * The GroupLog in the memory of one process: same behaviour as nats/group-log.ts (test/contract). Members live in this process and say what
 * becomes of each message, so nothing has to be given to others for silence alone.
 */
import type {
  GroupLag,
  GroupLog,
  GroupMember,
  GroupMessage,
  GroupTake,
  LogRecord,
  MessageLog,
} from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';

/** Messages read from the log at once. */
const PAGE_MESSAGES = 64;
const LAG_GROUPS = 100;

export interface EmbeddedGroupLogOptions {
  readonly log: MessageLog;
  readonly clock: Clock;
  /** How long a group outlives its last member. */
  readonly retentionSeconds: number;
  readonly maximumGroups: number;
}

export class EmbeddedGroupLog implements GroupLog {
  readonly #options: EmbeddedGroupLogOptions;
  readonly #groups = new Map<string, Group>();

  constructor(options: EmbeddedGroupLogOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#served().length;
  }

  accepts(group: string, filter: string): boolean {
    const known = this.#groups.get(keyOf(group, filter));
    return known?.hasMembers === true || this.count < this.#options.maximumGroups;
  }

  join(group: string, filter: string, take: GroupTake): GroupMember {
    const key = keyOf(group, filter);
    let found = this.#groups.get(key);
    if (found === undefined) {
      found = new Group(this.#options, { group, filter }, () => this.#groups.delete(key));
      this.#groups.set(key, found);
    }
    return found.join(take);
  }

  async acknowledge(): Promise<void> {}

  async lags(): Promise<readonly GroupLag[]> {
    return this.#served()
      .slice(0, LAG_GROUPS)
      .map((group) => group.lag());
  }

  async close(): Promise<void> {
    for (const group of this.#groups.values()) group.close();
    this.#groups.clear();
  }

  #served(): Group[] {
    return [...this.#groups.values()].filter(({ hasMembers }) => hasMembers);
  }
}

/** One group on one filter. */
class Group {
  readonly ready: Promise<void>;
  readonly #options: EmbeddedGroupLogOptions;
  readonly #name: { readonly group: string; readonly filter: string };
  readonly #ended: () => void;
  readonly #stopFollowing: Array<() => void> = [];
  readonly #members: Member[] = [];
  /** Given back: first in turn. */
  readonly #returned: LogRecord[] = [];
  readonly #held = new Set<Held>();
  /** Everything up to here was handed out or given back; undefined: not known yet. */
  #position: number | undefined;
  /** Messages that were stored behind the position. */
  #pending = 0;
  #turn = 0;
  #isServing = false;
  /** Something has changed while messages were handed out. */
  #isDue = false;
  #cancelEnd: CancelTimer | undefined;
  #isClosed = false;

  constructor(options: EmbeddedGroupLogOptions, name: { group: string; filter: string }, ended: () => void) {
    this.#options = options;
    this.#name = name;
    this.#ended = ended;
    for (const pattern of options.log.patterns(name.filter) ?? []) {
      this.#stopFollowing.push(
        options.log.follow(pattern, ({ sequence }) => {
          if (this.#position === undefined || sequence > this.#position) this.#pending++;
          this.serve();
        }).end,
      );
    }
    this.ready = options.log.state().then(({ last }) => {
      this.#position = last;
    });
  }

  get hasMembers(): boolean {
    return this.#members.length > 0;
  }

  join(take: GroupTake): GroupMember {
    this.#cancelEnd?.();
    this.#cancelEnd = undefined;
    const member = new Member(this, take);
    this.#members.push(member);
    return member;
  }

  left(member: Member): void {
    const index = this.#members.indexOf(member);
    if (index >= 0) this.#members.splice(index, 1);
    this.#endIfIdle();
  }

  /** False: given up before. */
  give(held: Held): boolean {
    const isHeld = this.#held.delete(held);
    this.#endIfIdle();
    return isHeld;
  }

  comesBack(record: LogRecord): void {
    this.#returned.push(record);
    this.serve();
  }

  lag(): GroupLag {
    return { ...this.#name, pending: this.#pending + this.#returned.length, unacknowledged: this.#held.size };
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelEnd?.();
    for (const stop of this.#stopFollowing) stop();
  }

  /** Hands out what there is, as long as somebody wants it. */
  serve(): void {
    this.#isDue = true;
    if (this.#isServing || this.#isClosed) return;
    this.#isServing = true;
    this.#serveAll()
      .catch(() => {
        // The log of this process always answers; if it did not, the next message tries again.
      })
      .finally(() => {
        this.#isServing = false;
        if (this.#isDue) this.serve();
      });
  }

  async #serveAll(): Promise<void> {
    while (this.#isDue && !this.#isClosed) {
      this.#isDue = false;
      await this.ready;
      while (this.#returned.length > 0) {
        const member = this.#next();
        const record = member && this.#returned.shift();
        if (member === undefined || record === undefined) return;
        this.#hand(member, record, true);
      }
      if (!(await this.#serveNew())) return;
    }
  }

  /** False when nobody wants more. */
  async #serveNew(): Promise<boolean> {
    const places = this.#members.reduce((sum, { free }) => sum + free, 0);
    if (places === 0) return false;
    const records = await this.#read(Math.min(places, PAGE_MESSAGES));
    for (const record of records) {
      const member = this.#next();
      // Left meanwhile.
      if (member === undefined) return false;
      this.#position = record.sequence;
      this.#pending = Math.max(0, this.#pending - 1);
      this.#hand(member, record, false);
    }
    if (records.length > 0) this.#isDue = true;
    return true;
  }

  async #read(limit: number): Promise<readonly LogRecord[]> {
    const { log } = this.#options;
    const [pattern] = log.patterns(this.#name.filter) ?? [];
    const position = this.#position ?? 0;
    if (pattern === undefined) return [];
    const { records, upTo } = await log.read(pattern, position, limit);
    if (records.length === 0) {
      this.#position = Math.max(position, upTo);
      this.#pending = 0;
    }
    return records;
  }

  /** In turn, those who want more. */
  #next(): Member | undefined {
    for (let tried = 0; tried < this.#members.length; tried++) {
      const member = this.#members[this.#turn++ % this.#members.length];
      if (member !== undefined && member.free > 0) return member;
    }
    return undefined;
  }

  #hand(member: Member, record: LogRecord, isRepeated: boolean): void {
    const held = new Held(this, record, isRepeated);
    this.#held.add(held);
    member.free--;
    member.take(held, record);
  }

  #endIfIdle(): void {
    if (this.#members.length > 0 || this.#held.size > 0 || this.#cancelEnd !== undefined) return;
    const { clock, retentionSeconds } = this.#options;
    this.#cancelEnd = clock.after(retentionSeconds * 1000, () => {
      this.#cancelEnd = undefined;
      if (this.#members.length > 0 || this.#held.size > 0) return;
      this.close();
      this.#ended();
    });
  }
}

class Member implements GroupMember {
  free = 0;
  readonly take: GroupTake;
  readonly #group: Group;

  constructor(group: Group, take: GroupTake) {
    this.#group = group;
    this.take = take;
  }

  get ready(): Promise<void> {
    return this.#group.ready;
  }

  want(places: number): void {
    this.free = places;
    if (places > 0) this.#group.serve();
  }

  leave(): void {
    this.free = 0;
    this.#group.left(this);
  }
}

class Held implements GroupMessage {
  readonly record: LogRecord;
  readonly isRepeated: boolean;
  readonly token = '';
  readonly #group: Group;

  constructor(group: Group, record: LogRecord, isRepeated: boolean) {
    this.#group = group;
    this.record = record;
    this.isRepeated = isRepeated;
  }

  acknowledge(): void {
    this.#group.give(this);
  }

  async confirm(): Promise<void> {
    this.#group.give(this);
  }

  release(): void {
    if (this.#group.give(this)) this.#group.comesBack(this.record);
  }

  /** Nobody else can have it: it would be lost. */
  forget(): void {
    this.release();
  }
}

function keyOf(group: string, filter: string): string {
  return `${group}/${filter}`;
}
