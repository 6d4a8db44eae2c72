/**
 * What a node asks others about clients, until it is answered or not worth waiting for. An answer that says only that the question was heard
 * gives it more time. What an answer means is decided in cluster.ts.
 */
import type { Msg, NatsConnection } from 'nats';
import type { Clock } from '../clock.ts';
import { type ClaimQuestion, encodeQuestion } from './claim-stamp.ts';
import { newInbox } from './inbox.ts';
import { wired } from './raw-message.ts';

/** An owner has heard; the last word follows. */
export const HEARD = 'heard';
/** An owner that has heard and does not yield within this time is cut off or frozen; it is asked again when it is back. */
const YIELD_MILLISECONDS = 2_000;
/**
 * Nobody says that he has heard: nobody has the client, though the question went somewhere. Whoever is subscribed to everything (a client to
 * `#` without a topic prefix, a NATS tool to `>`) gets it too, and there is no "no responders" then.
 */
const HEARING_MILLISECONDS = 250;
const HEARING_SWEEP_MILLISECONDS = 25;
const YIELD_SWEEP_MILLISECONDS = 200;
/** A node that was frozen for a moment still answers, as one that has the client: whoever did not wait for it has to go by that all the same. */
const LATE_MILLISECONDS = 10_000;
/** Questions whose late answers still count. */
const MAXIMUM_LATE = 10_000;

/** A claim as it is asked for: on the control subject of its client. */
export interface Asking extends ClaimQuestion {
  readonly subject: string;
}

/** `isAlone`: nobody listens on the subject of the client, and so it was when the question came. */
export type Settle = (isAlone: boolean) => void;

interface Question<Asked extends Asking> {
  readonly asking: Asked;
  readonly deadline: number;
  readonly settle: Settle;
}

export interface ClaimQuestionsOptions<Asked extends Asking> {
  readonly connection: NatsConnection;
  readonly clock: Clock;
  /** The last word, or that there was nobody to say one: whoever is called settles. */
  readonly answered: (asking: Asked, settle: Settle, message: Msg) => void;
}

export class ClaimQuestions<Asked extends Asking> {
  readonly #connection: NatsConnection;
  readonly #clock: Clock;
  readonly #inbox: string;
  readonly #answered: ClaimQuestionsOptions<Asked>['answered'];
  /** By number, in the order of their deadlines: what nobody has heard yet, and what is being worked on. */
  readonly #open = new Map<number, Question<Asked>>();
  readonly #heard = new Map<number, Question<Asked>>();
  /** What nobody has answered in time; the deadline is that of the answer. */
  readonly #late = new Map<number, Question<Asked>>();
  readonly #stopSweeps: ReadonlyArray<() => void>;
  #next = 1;

  constructor({ answered, clock, connection }: ClaimQuestionsOptions<Asked>) {
    this.#connection = connection;
    this.#clock = clock;
    this.#answered = answered;
    this.#inbox = newInbox(connection);
    const prefixLength = this.#inbox.length + 1;
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.#take(wired(message).numberAfter(prefixLength), message);
      },
    });
    this.#stopSweeps = [
      clock.every(YIELD_SWEEP_MILLISECONDS, () => {
        this.#forgetLate();
        this.#giveUp(this.#heard);
      }),
      clock.every(HEARING_SWEEP_MILLISECONDS, () => this.#giveUp(this.#open)),
    ];
  }

  /** `settle` is called once, also when nobody answers. */
  ask(asking: Asked, settle: Settle): void {
    const number = this.#next++;
    this.#open.set(number, { asking, settle, deadline: this.#clock.now() + HEARING_MILLISECONDS });
    if (this.#connection.isClosed()) return;
    this.#connection.publish(asking.subject, encodeQuestion(asking), { reply: `${this.#inbox}.${number}` });
  }

  /** Nobody waits any longer. */
  close(): void {
    for (const stop of this.#stopSweeps) stop();
    for (const questions of [this.#open, this.#heard]) {
      for (const { settle } of questions.values()) settle(false);
      questions.clear();
    }
    this.#late.clear();
  }

  #take(number: number, message: Msg): void {
    const question = this.#open.get(number) ?? this.#heard.get(number) ?? this.#late.get(number);
    if (question === undefined) return;
    for (const questions of [this.#open, this.#heard, this.#late]) questions.delete(number);
    if (message.string() === HEARD)
      this.#heard.set(number, { ...question, deadline: this.#clock.now() + YIELD_MILLISECONDS });
    else this.#answered(question.asking, question.settle, message);
  }

  #giveUp(questions: Map<number, Question<Asked>>): void {
    const now = this.#clock.now();
    for (const [number, question] of questions) {
      if (question.deadline > now) break;
      questions.delete(number);
      question.settle(false);
      this.#awaitLate(number, question);
    }
  }

  #awaitLate(number: number, { asking }: Question<Asked>): void {
    if (this.#late.size < MAXIMUM_LATE)
      this.#late.set(number, { asking, settle: nothing, deadline: this.#clock.now() + LATE_MILLISECONDS });
  }

  #forgetLate(): void {
    const now = this.#clock.now();
    for (const [number, { deadline }] of this.#late) {
      if (deadline > now) break;
      this.#late.delete(number);
    }
  }
}

function nothing(): void {}
