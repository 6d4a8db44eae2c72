/** A GroupLog of which a test hands out each message itself, and sees what becomes of it. */
import type { GroupLag, GroupLog, GroupMember, GroupMessage, GroupTake, LogRecord } from '../../src/broker/ports.ts';

/** What was said of a message, in order, as `<payload> <word>`. */
export type Said = string;

export class FakeGroupLog implements GroupLog {
  readonly said: Said[] = [];
  /** What members have asked for last, in order of joining; undefined = left. */
  readonly wanted: Array<number | undefined> = [];
  /** `confirm` and `acknowledge` wait for it. */
  confirms: Promise<void> = Promise.resolve();
  readonly #takes: GroupTake[] = [];

  get count(): number {
    return this.wanted.filter((places) => places !== undefined).length;
  }

  accepts(): boolean {
    return true;
  }

  join(_group: string, _filter: string, take: GroupTake): GroupMember {
    const index = this.#takes.push(take) - 1;
    this.wanted.push(0);
    return {
      ready: Promise.resolve(),
      want: (places) => {
        this.wanted[index] = places;
      },
      leave: () => {
        this.wanted[index] = undefined;
      },
    };
  }

  /** Gives a message to a member, by order of joining. */
  hand(record: LogRecord, { isRepeated = false, member = 0 }: { isRepeated?: boolean; member?: number } = {}): void {
    const name = record.payload.toString();
    const say = (word: string) => (): void => void this.said.push(`${name} ${word}`);
    const message: GroupMessage = {
      isRepeated,
      token: `token of ${name}`,
      acknowledge: say('acknowledged'),
      release: say('released'),
      forget: say('forgotten'),
      confirm: async () => {
        say('confirming')();
        await this.confirms;
        say('confirmed')();
      },
    };
    this.#takes[member]?.(message, record);
  }

  async acknowledge(token: string): Promise<void> {
    await this.confirms;
    this.said.push(`${token} acknowledged`);
  }

  async lags(): Promise<readonly GroupLag[]> {
    return [];
  }

  async close(): Promise<void> {}
}
