/**
 * A message that a group's consumer has handed to a member of this node. Made by
 * nats/group-member.ts for each message: no more is allocated than the message itself.
 */
import type { GroupMessage } from '../broker/ports.ts';
import type { Place } from './consumed.ts';

/** What a held message needs of its group. */
export interface Holder {
  /** False: it was given up before. `isDone`: nobody shall get it again. */
  give(message: HeldMessage, isDone: boolean): boolean;
  /** Tells JetStream; may be lost. */
  tell(token: string, word: string): void;
  acknowledgeForCertain(message: HeldMessage): Promise<void>;
}

/** JetStream's words; an empty one acknowledges. */
export const NOT_ACKNOWLEDGED = '-NAK';
export const IN_PROGRESS = '+WPI';

export class HeldMessage implements GroupMessage {
  readonly isRepeated: boolean;
  readonly sequence: number;
  /** {@link Place.stamp} */
  readonly stamp: number;
  /** Another one when the server has handed it out again. */
  token: string;
  /** When the server was last told that it is held (`Clock.now`). */
  toldAt: number;
  readonly #holder: Holder;

  constructor(holder: Holder, { deliveries, sequence, stamp }: Place, token: string, now: number) {
    this.#holder = holder;
    this.sequence = sequence;
    this.stamp = stamp;
    this.isRepeated = deliveries > 1;
    this.token = token;
    this.toldAt = now;
  }

  acknowledge(): void {
    if (this.#holder.give(this, true)) this.#holder.tell(this.token, '');
  }

  async confirm(): Promise<void> {
    // Held until it is certain: an answer may take as long as an election.
    await this.#holder.acknowledgeForCertain(this);
    this.#holder.give(this, true);
  }

  release(): void {
    if (this.#holder.give(this, false)) this.#holder.tell(this.token, NOT_ACKNOWLEDGED);
  }

  forget(): void {
    this.#holder.give(this, false);
  }
}
