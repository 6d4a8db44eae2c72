/** Claims wait for the answers to the batch before theirs, so that under load NATS gets few large writes; a slow answer holds up nobody. */

/** How long a claim waits at most for the answers to the claims before it. */
const BATCH_MILLISECONDS = 3;

/** Asks for one claim and calls `answered` when that is settled. */
type Ask<Arrived> = (arrived: Arrived, answered: () => void) => void;

export class ClaimBatches<Arrived> {
  readonly #ask: Ask<Arrived>;
  /** What NATS has not heard of yet, and how many of the last batch are unanswered. */
  #arrived: Arrived[] = [];
  #last = { unanswered: 0 };

  constructor(ask: Ask<Arrived>) {
    this.#ask = ask;
  }

  add(arrived: Arrived): void {
    this.#arrived.push(arrived);
    if (this.#arrived.length > 1) return;
    if (this.#isAnswered()) setImmediate(this.#askAll);
    else setTimeout(this.#askAll, BATCH_MILLISECONDS);
  }

  readonly #askAll = (): void => {
    const batch = this.#arrived.splice(0);
    if (batch.length === 0) return;
    const current = { unanswered: batch.length };
    this.#last = current;
    const answered = (): void => {
      current.unanswered--;
      if (this.#isAnswered() && this.#arrived.length > 0) setImmediate(this.#askAll);
    };
    for (const arrived of batch) this.#ask(arrived, answered);
  };

  #isAnswered(): boolean {
    return this.#last.unanswered === 0;
  }
}
