/**
 * One live connection per client id over all nodes. A node that has a client listens on that client's own control subject;
 * a node to which the client connects listens first, then asks there. Nobody listening is answered at once (no responders).
 * Whoever has the earlier stamp yields, on both sides of the question, so two crossing claims leave exactly one.
 */
import type { Msg, NatsConnection, Subscription } from 'nats';
import { isOvertaken, overtaken } from '../broker/overtaken.ts';
import type { Claim, Claimed, ClaimRequest, ClaimStamp, Cluster } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import { ClaimBatches } from './claim-batches.ts';
import { ClaimQuestions, HEARD, type Settle } from './claim-questions.ts';
import { compareStamps, decodeQuestion, decodeStamp, encodeStamp, tagOf } from './claim-stamp.ts';
import { LeftClaims } from './left-claims.ts';
import { isNoResponders } from './raw-message.ts';
import { clientKey } from './session-store.ts';

/** Control subjects: this and a hash of the client id. */
export const CONTROL_PREFIX = '$SMQ.client.';
/** Before a claim is asked a second time. */
const SWEEP_MILLISECONDS = 200;
/** Claims asked again per sweep after a reconnect. */
const CLAIMS_PER_SWEEP = 2_000;
const YIELDED = 'yielded';
/** Ask again: the node that says so does not listen any more. */
const GONE = 'gone';
/** The client is another user's. */
const TAKEN = 'taken';
/** Another user asks for it too, and goes before. */
const WANTED = 'wanted';

interface Claimant {
  readonly clientId: string;
  readonly userTag: string;
  readonly isGone: () => boolean;
  yielded: () => Promise<void>;
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
  readonly #questions: ClaimQuestions<Held>;
  readonly #batches: ClaimBatches<Arrived>;
  readonly #left = new LeftClaims();
  readonly #held = new Map<string, Held>();
  /** By client id, until its session is written: what has given up its claim to another node. */
  readonly #yielding = new Map<string, Promise<void>>();
  readonly #stopSweep: CancelTimer;
  #arrivals = 0;
  /** Claims to be asked again: those of this sweep, those of the last, and after a reconnect all. */
  #fresh: Held[] = [];
  #due: Held[] = [];

  constructor(options: NatsClusterOptions) {
    this.#connection = options.connection;
    this.#incarnation = options.incarnation;
    this.#clock = options.clock;
    this.#questions = new ClaimQuestions({
      connection: options.connection,
      clock: options.clock,
      answered: (held, settle, message) => this.#answered(held, settle, message),
    });
    this.#batches = new ClaimBatches((arrived, answered) => this.#askArrived(arrived, answered));
    this.#stopSweep = this.#clock.every(SWEEP_MILLISECONDS, () => this.#sweep());
  }

  arrive(): number {
    return ++this.#arrivals;
  }

  /** `look` asks through the connection of this cluster, or finds nothing that a node may change. */
  async claim<Found>(request: ClaimRequest<Found>): Promise<Claimed<Found> | undefined> {
    const { arrival, clientId, isGone, look, user, yielded } = request;
    const previous = this.#held.get(clientId);
    const userTag = tagOf(user);
    if (previous !== undefined && !mayTake(userTag, previous)) return undefined;
    if (previous !== undefined && isOvertaken(standing(previous), userTag, arrival)) return overtaken(request);
    // One that was given up to another node may not have written its session yet.
    const before = all(previous?.yielded(), this.#yielding.get(clientId));
    let cleared = (): void => {};
    const isCleared = new Promise<void>((resolve) => {
      cleared = resolve;
    });
    // Who is told that this one has yielded takes it that all before it have.
    const claimant = { clientId, userTag, isGone, yielded: () => all(yielded(), isCleared) };
    const held = this.#hold(claimant, arrival, previous);
    await before;
    // A client that moves from one connection of this node to another is nowhere else.
    const early = previous?.isSettled === true ? undefined : await this.#askFor(held, look);
    cleared();
    // For as long as the client is here nothing more than that is kept.
    held.yielded = yielded;
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
    return { claim: this.#claimOf(held), found };
  }

  /** Apart from {@link claim}, whose variables would be kept with it for as long as the client is connected. */
  #claimOf(held: Held): Claim {
    return { release: () => this.#release(held) };
  }

  /** Called when the connection is back: other nodes may have been asked in vain meanwhile. */
  reconnected(): void {
    this.#due = [...this.#held.values()];
  }

  async close(): Promise<void> {
    this.#stopSweep();
    this.#questions.close();
    await this.#connection.close();
  }

  #hold({ clientId, isGone, userTag, yielded }: Claimant, arrival: number, previous: Held | undefined): Held {
    const subject = CONTROL_PREFIX + clientKey(clientId);
    // Later than the claim in whose place it stands, which may have raised its stamp: another node may have yielded to that.
    const connectedAt = Math.max(this.#clock.wall(), previous?.stamp.connectedAt ?? 0);
    const stamp = { connectedAt, incarnation: this.#incarnation, serial: arrival };
    const subscription = previous?.subscription ?? this.#left.take(clientId);
    const flags = { isSettled: false, isRaised: false, isRefused: false };
    const held: Held = { clientId, userTag, isGone, subject, yielded, subscription, stamp, ...flags };
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
      this.#batches.add({ held, settle, asked });
    });
  }

  /** Listens first, then asks. A claim that was given up meanwhile is not asked for. */
  #askArrived({ asked, held, settle }: Arrived, answered: () => void): void {
    const settled = (isAlone: boolean): void => {
      settle(isAlone);
      answered();
    };
    if (this.#held.get(held.clientId) !== held || this.#connection.isClosed()) return settled(false);
    held.subscription ??= this.#listen(held.clientId, held.subject);
    this.#questions.ask(held, settled);
    asked();
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
    if (held.subscription !== undefined) this.#left.keep(held.clientId, held.subscription);
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

  /** Another node has the client connecting. */
  #asked(clientId: string, message: Msg): void {
    const held = this.#held.get(clientId);
    const asking = decodeQuestion(message.string());
    if (asking === undefined) return;
    if (held === undefined) return this.#askedLate(clientId, message);
    const isNobodys = held.userTag === '' && asking.userTag !== '';
    const isEarlier = !isNobodys && compareStamps(asking.stamp, held.stamp) < 0;
    // One that may yet be refused itself refuses no user that is later.
    if (!mayTake(asking.userTag, held) && (held.isSettled || isEarlier || asking.userTag === '')) {
      message.respond(held.isSettled ? TAKEN : WANTED);
      return;
    }
    if (isEarlier) {
      message.respond(encodeStamp(held.stamp));
      return;
    }
    message.respond(HEARD);
    // yielded() does not reject: ending.ts reports what goes wrong at the end of a connection.
    void this.#yield(held).then(() => message.respond(YIELDED));
  }

  /** Its claim was given up a moment ago. Another node may have the client and answer too, so this answer is no last word. */
  #askedLate(clientId: string, message: Msg): void {
    const yielding = this.#yielding.get(clientId);
    if (yielding !== undefined) message.respond(HEARD);
    void (yielding ?? Promise.resolve()).then(() => {
      if (this.#held.has(clientId)) return this.#asked(clientId, message);
      // Before the answer: whoever asks again because of it is not heard here.
      if (!this.#connection.isClosed()) this.#left.take(clientId)?.unsubscribe();
      message.respond(GONE);
    });
  }

  /** The other side of a question: it has yielded, does not exist (no responders), or names its later stamp. */
  #answered(held: Held, settle: Settle, message: Msg): void {
    if (message.data.length === 0) return settle(isNoResponders(message));
    // Whoever answers has written the session before it, and after what was found meanwhile.
    const late = (): void => settle(false);
    const text = message.string();
    if (this.#held.get(held.clientId) === held && text === GONE) return this.#questions.ask(held, late);
    // Whoever has the client and asks again is not driven out by somebody who only wants it, and asks here as well.
    if (text === WANTED && held.isSettled) return late();
    if (text === TAKEN || text === WANTED) {
      // Of two that thought to have it, after NATS was away: this one has asked, and goes.
      if (!held.isSettled) held.isRefused = true;
      else if (this.#held.get(held.clientId) === held) void this.#yield(held);
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
    this.#questions.ask(held, late);
  }

  #sweep(): void {
    this.#left.sweep(this.#connection.isClosed());
    for (const held of this.#due.splice(0, CLAIMS_PER_SWEEP)) {
      if (this.#held.get(held.clientId) === held) this.#questions.ask(held, nothing);
    }
    this.#due.push(...this.#fresh);
    this.#fresh = [];
  }
}

function nothing(): void {}

/** Resolves when all of them have. */
async function all(...promises: ReadonlyArray<Promise<void> | undefined>): Promise<void> {
  await Promise.all(promises);
}

/** What has no user is anybody's. */
function mayTake(userTag: string, held: Held): boolean {
  return held.userTag === '' || held.userTag === userTag;
}

/** A claim as {@link isOvertaken} sees it. */
function standing({ isGone, stamp, userTag }: Held): Parameters<typeof isOvertaken>[0] {
  return { user: userTag, arrival: stamp.serial, isGone };
}
