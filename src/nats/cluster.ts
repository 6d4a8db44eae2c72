/**
 * One live connection per client id over all nodes. A node that has a client listens on that client's own control subject;
 * a node to which the client connects listens first, then asks there. Nobody listening is answered at once (no responders).
 * Whoever has the earlier stamp yields, on both sides of the question, so two crossing claims leave exactly one.
 */
import type { Msg, NatsConnection, Subscription } from 'nats';
import type { Claimed, ClaimRequest, ClaimStamp, Cluster } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import { compareStamps, decodeQuestion, decodeStamp, encodeQuestion, encodeStamp, tagOf } from './claim-stamp.ts';
import { newInbox } from './inbox.ts';
import { isNoResponders, wired } from './raw-message.ts';
import { clientKey } from './session-store.ts';

/** Control subjects: this and a hash of the client id. */
export const CONTROL_PREFIX = '$SMQ.client.';
/** An owner that has heard and does not yield within this time is cut off or frozen; it is asked again when it is back. */
const YIELD_MILLISECONDS = 2_000;
/**
 * Nobody says that he has heard: nobody has the client, though the question went somewhere. Whoever is subscribed to everything (a client to
 * `#` without a topic prefix, a NATS tool to `>`) gets it too, and there is no "no responders" then.
 */
const HEARING_MILLISECONDS = 250;
const HEARING_SWEEP_MILLISECONDS = 25;
/** How long a claim waits at most for the answers to the claims before it. */
const BATCH_MILLISECONDS = 3;
/** Between two looks at what is unanswered, and before a claim is asked a second time. */
const SWEEP_MILLISECONDS = 200;
/** Claims asked again per sweep after a reconnect. */
const CLAIMS_PER_SWEEP = 2_000;
/** An owner has heard; the last word follows. */
const HEARD = 'heard';
const YIELDED = 'yielded';
/** Ask again: the node that says so does not listen any more. */
const GONE = 'gone';
/** The client is another user's. */
const TAKEN = 'taken';

interface Claimant {
  readonly clientId: string;
  readonly userTag: string;
  readonly yielded: () => Promise<void>;
}

interface Held extends Claimant {
  readonly subject: string;
  /** Made at the end of the turn in which the claim came. */
  subscription: Subscription | undefined;
  stamp: ClaimStamp;
  /** What it asked is answered, or was not worth waiting for: the client is nowhere else. */
  isSettled: boolean;
  /** It has put its stamp above that of another claim, and asked again. Whoever takes its place before the answer has to ask for itself. */
  isRaised: boolean;
  /** Another user has the client. */
  isRefused: boolean;
}

/** `isAlone`: nobody listens on the subject of the client, and so it was when the question came. */
type Settle = (isAlone: boolean) => void;

interface Question {
  readonly held: Held;
  readonly deadline: number;
  readonly settle: Settle;
}

interface Arrived {
  readonly held: Held;
  readonly settle: Settle;
  /** Called right behind the question. */
  readonly asked: () => void;
}

export interface NatsClusterOptions {
  /** Made with `noEcho`: a node does not answer itself. */
  readonly connection: NatsConnection;
  /** Random per start of the node. */
  readonly incarnation: string;
  readonly clock: Clock;
}

export class NatsCluster implements Cluster {
  readonly #connection: NatsConnection;
  readonly #incarnation: string;
  readonly #clock: Clock;
  readonly #inbox: string;
  readonly #held = new Map<string, Held>();
  /** By number, in the order of their deadlines: what nobody has heard yet, and what is being worked on. */
  readonly #questions = new Map<number, Question>();
  readonly #heard = new Map<number, Question>();
  /** By client id, until its session is written: what has given up its claim to another node. */
  readonly #yielding = new Map<string, Promise<void>>();
  /** By client id, of claims that were given up: since the last sweep, and before it. */
  #left = new Map<string, Subscription>();
  #leftEarlier = new Map<string, Subscription>();
  readonly #stopSweep: CancelTimer;
  readonly #stopHearing: CancelTimer;
  #serial = 0;
  #nextQuestion = 1;
  /** Claims that NATS has not heard of yet, and how many of the last batch are unanswered. */
  #arrived: Arrived[] = [];
  #lastBatch = { unanswered: 0 };
  /** Claims to be asked again: those of this sweep, those of the last, and after a reconnect all. */
  #fresh: Held[] = [];
  #due: Held[] = [];

  constructor(options: NatsClusterOptions) {
    this.#connection = options.connection;
    this.#incarnation = options.incarnation;
    this.#clock = options.clock;
    this.#inbox = newInbox(options.connection);
    const prefixLength = this.#inbox.length + 1;
    this.#connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.#answered(wired(message).numberAfter(prefixLength), message);
      },
    });
    this.#stopSweep = this.#clock.every(SWEEP_MILLISECONDS, () => this.#sweep());
    this.#stopHearing = this.#clock.every(HEARING_SWEEP_MILLISECONDS, () => this.#giveUp(this.#questions));
  }

  /** `look` asks through the connection of this cluster, or finds nothing that a node may change. */
  async claim<Found>({ clientId, look, user, yielded }: ClaimRequest<Found>): Promise<Claimed<Found> | undefined> {
    const previous = this.#held.get(clientId);
    const userTag = tagOf(user);
    if (previous !== undefined && !mayTake(userTag, previous)) return undefined;
    const held = this.#hold({ clientId, userTag, yielded }, previous);
    if (previous !== undefined) await previous.yielded();
    // A client that moves from one connection of this node to another is nowhere else.
    const early = previous?.isSettled === true ? undefined : await this.#askFor(held, look);
    if (held.isRefused) {
      this.#release(held);
      return undefined;
    }
    const found = early?.found ?? look();
    found.catch(nothing);
    // Whose place was taken meanwhile has not been heard, or no longer speaks for the client: its successor asks for itself.
    if (this.#held.get(clientId) !== held) return { claim: { release: nothing }, found };
    held.isSettled = true;
    // With routes in between, another server may not have known our subscription when it was asked.
    if (this.#connection.info?.cluster !== undefined) this.#fresh.push(held);
    return { claim: { release: () => this.#release(held) }, found };
  }

  /** Called when the connection is back: other nodes may have been asked in vain meanwhile. */
  reconnected(): void {
    this.#due = [...this.#held.values()];
  }

  async close(): Promise<void> {
    this.#stopSweep();
    this.#stopHearing();
    for (const questions of [this.#questions, this.#heard]) {
      for (const { settle } of questions.values()) settle(false);
      questions.clear();
    }
    await this.#connection.close();
  }

  #hold({ clientId, userTag, yielded }: Claimant, previous: Held | undefined): Held {
    const subject = CONTROL_PREFIX + clientKey(clientId);
    // Later than the claim in whose place it stands, which may have raised its stamp: another node may have yielded to that.
    const connectedAt = Math.max(this.#clock.wall(), previous?.stamp.connectedAt ?? 0);
    const stamp = { connectedAt, incarnation: this.#incarnation, serial: ++this.#serial };
    const subscription = previous?.subscription ?? this.#takeOver(clientId);
    const flags = { isSettled: false, isRaised: false, isRefused: false };
    const held: Held = { clientId, userTag, subject, yielded, subscription, stamp, ...flags };
    this.#held.set(clientId, held);
    return held;
  }

  /**
   * Asks who has the client, and looks right behind that, in the same write. Where nobody listens, whoever had the client has written its
   * session and left before the question came, so that what was found holds. Undefined: somebody answered, and must be looked behind.
   */
  #askFor<Found>(held: Held, look: () => Promise<Found>): Promise<{ found: Promise<Found> } | undefined> {
    return new Promise((resolve) => {
      let found: Promise<Found> | undefined;
      const asked = (): void => {
        found = look();
        found.catch(nothing);
      };
      const settle = (isAlone: boolean): void => resolve(isAlone && found !== undefined ? { found } : undefined);
      this.#arrive({ held, settle, asked });
    });
  }

  /** Claims wait for the answers to the batch before theirs, so that under load NATS gets few large writes; a slow answer holds up nobody. */
  #arrive(arrived: Arrived): void {
    this.#arrived.push(arrived);
    if (this.#arrived.length > 1) return;
    if (this.#isAnswered()) setImmediate(this.#askArrived);
    else setTimeout(this.#askArrived, BATCH_MILLISECONDS);
  }

  /** Listens first, then asks. A claim that was given up meanwhile is not asked for. */
  readonly #askArrived = (): void => {
    const batch = this.#arrived.splice(0);
    if (batch.length === 0) return;
    const current = { unanswered: batch.length };
    this.#lastBatch = current;
    const answered = (settle: Settle, isAlone: boolean): void => {
      settle(isAlone);
      current.unanswered--;
      if (this.#isAnswered() && this.#arrived.length > 0) setImmediate(this.#askArrived);
    };
    for (const { asked, held, settle } of batch) {
      if (this.#held.get(held.clientId) !== held || this.#connection.isClosed()) {
        answered(settle, false);
        continue;
      }
      held.subscription ??= this.#listen(held.clientId, held.subject);
      this.#ask(held, (isAlone) => answered(settle, isAlone));
      asked();
    }
  };

  #isAnswered(): boolean {
    return this.#lastBatch.unanswered === 0;
  }

  #listen(clientId: string, subject: string): Subscription {
    return this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (error === null) this.#asked(clientId, message);
      },
    });
  }

  #release(held: Held): void {
    if (this.#held.get(held.clientId) !== held) return;
    this.#held.delete(held.clientId);
    if (held.subscription !== undefined) this.#left.set(held.clientId, held.subscription);
  }

  /** The subscription of a claim that was given up a moment ago. */
  #takeOver(clientId: string): Subscription | undefined {
    const subscription = this.#left.get(clientId) ?? this.#leftEarlier.get(clientId);
    this.#left.delete(clientId);
    this.#leftEarlier.delete(clientId);
    return subscription;
  }

  /** Whoever asks while a claim is given up would wait for an answer in vain, so its subscription outlives it by a sweep or two. */
  #forgetLeft(): void {
    if (!this.#connection.isClosed()) for (const subscription of this.#leftEarlier.values()) subscription.unsubscribe();
    this.#leftEarlier = this.#left;
    this.#left = new Map();
  }

  /** Resolves when the connection is closed and its session written. */
  #yield(held: Held): Promise<void> {
    this.#release(held);
    const { clientId } = held;
    const ended = Promise.all([this.#yielding.get(clientId), held.yielded()]).then(() => {
      if (this.#yielding.get(clientId) === ended) this.#yielding.delete(clientId);
    });
    this.#yielding.set(clientId, ended);
    return ended;
  }

  #ask(held: Held, settle: Settle): void {
    const number = this.#nextQuestion++;
    this.#questions.set(number, { held, settle, deadline: this.#clock.now() + HEARING_MILLISECONDS });
    if (this.#connection.isClosed()) return;
    const question = encodeQuestion(held);
    this.#connection.publish(held.subject, question, { reply: `${this.#inbox}.${number}` });
  }

  /** Another node has the client connecting. */
  #asked(clientId: string, message: Msg): void {
    const held = this.#held.get(clientId);
    const asking = decodeQuestion(message.string());
    if (asking === undefined) return;
    if (held === undefined) return this.#askedLate(clientId, message);
    const isEarlier = compareStamps(asking.stamp, held.stamp) < 0;
    // One that may yet be refused itself refuses nobody that is later.
    if (!mayTake(asking.userTag, held) && (held.isSettled || isEarlier)) {
      message.respond(TAKEN);
      return;
    }
    if (isEarlier) {
      message.respond(encodeStamp(held.stamp));
      return;
    }
    message.respond(HEARD);
    // yielded() does not reject: connection.ts reports what goes wrong at the end of a connection.
    void this.#yield(held).then(() => message.respond(YIELDED));
  }

  /** Its claim was given up a moment ago. Another node may have the client and answer too, so this answer is no last word. */
  #askedLate(clientId: string, message: Msg): void {
    const yielding = this.#yielding.get(clientId);
    if (yielding !== undefined) message.respond(HEARD);
    void (yielding ?? Promise.resolve()).then(() => {
      if (this.#held.has(clientId)) return this.#asked(clientId, message);
      // Before the answer: whoever asks again because of it is not heard here.
      if (!this.#connection.isClosed()) this.#takeOver(clientId)?.unsubscribe();
      message.respond(GONE);
    });
  }

  /** The other side of a question: it has yielded, does not exist (no responders), or names its later stamp. */
  #answered(number: number, message: Msg): void {
    const question = this.#questions.get(number) ?? this.#heard.get(number);
    if (question === undefined) return;
    this.#questions.delete(number);
    this.#heard.delete(number);
    const { held, settle } = question;
    if (message.data.length === 0) return settle(isNoResponders(message));
    // Whoever answers has written the session before it, and after what was found meanwhile.
    const late = (): void => settle(false);
    const text = message.string();
    if (text === HEARD) {
      this.#heard.set(number, { ...question, deadline: this.#clock.now() + YIELD_MILLISECONDS });
      return;
    }
    if (this.#held.get(held.clientId) === held && text === GONE) return this.#ask(held, late);
    if (text === TAKEN) {
      // Of two that thought to have it, after NATS was away: this one has asked, and goes.
      if (held.isSettled) void this.#yield(held);
      else held.isRefused = true;
      return late();
    }
    const theirs = decodeStamp(text);
    if (theirs === undefined || this.#held.get(held.clientId) !== held || compareStamps(theirs, held.stamp) < 0)
      return late();
    if (held.isSettled || held.isRaised) {
      void this.#yield(held);
      return late();
    }
    // The client stands here now, so its other connection is the older one, whatever that node's clock says. Once.
    held.isRaised = true;
    held.stamp = { ...held.stamp, connectedAt: theirs.connectedAt + 1 };
    this.#ask(held, late);
  }

  #giveUp(questions: Map<number, Question>): void {
    const now = this.#clock.now();
    for (const [number, question] of questions) {
      if (question.deadline > now) break;
      questions.delete(number);
      question.settle(false);
    }
  }

  #sweep(): void {
    this.#forgetLeft();
    this.#giveUp(this.#heard);
    for (const held of this.#due.splice(0, CLAIMS_PER_SWEEP)) {
      if (this.#held.get(held.clientId) === held) this.#ask(held, nothing);
    }
    this.#due.push(...this.#fresh);
    this.#fresh = [];
  }
}

function nothing(): void {}

/** What has no user is anybody's. */
function mayTake(userTag: string, held: Held): boolean {
  return held.userTag === '' || held.userTag === userTag;
}
