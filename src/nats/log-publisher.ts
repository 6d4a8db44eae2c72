/**
 * Messages on their way into the log: a large window of them, each with a numbered reply subject on one inbox, no promise for any. After
 * the first sign of trouble (no leader, too many requests, silence, a lost connection) nothing new is sent until everything under way
 * is settled or given up; then what is unsettled goes again, in its order, so that the log never has a publisher's messages reordered.
 */
import type { Msg, MsgHdrs, NatsConnection } from 'nats';
import { BoundedCache } from '../bounded-cache.ts';
import type { LogOutcome, LogPublish } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { NatsRoute } from './bus.ts';
import { keptHeaders, ORIGIN_HEADER, PROPERTIES_HEADER, QOS_HEADER, RETAIN_HEADER, readyHeaders } from './envelope.ts';
import { newInbox } from './inbox.ts';
import { LOG_PREFIX } from './log-record.ts';
import { answerOf, isTemporary, isTooMany, outcomeOf, type PublishError, sequenceOf } from './publish-answer.ts';
import { wired } from './raw-message.ts';

const WINDOW_MESSAGES = 1_024;
/** What is left of the window after JetStream has said again and again that too much waits in the stream. */
const SMALLEST_WINDOW = 16;
/** Messages stored until a window that was made smaller grows by one. */
const STORED_PER_GROWTH = 16;
const WINDOW_BYTES = 8 * 1024 * 1024;
/** A publish without an answer is given up after this time, and sent again. */
const ANSWER_MILLISECONDS = 5_000;
/** Nothing new is sent while an answer is awaited for longer: an election may be on, and what was sent into it may be lost. */
const STALL_MILLISECONDS = 1_000;
const SWEEP_MILLISECONDS = 100;
const FIRST_PAUSE_MILLISECONDS = 100;
const LONGEST_PAUSE_MILLISECONDS = 1_000;
/** Of the origins whose headers are cached. */
const HEADER_CHARACTERS = 1024 * 1024;
/** A message with an expiry stays in the log for longer by this: clocks differ, and expiry is decided at delivery. */
const TTL_MARGIN_SECONDS = 3_600;
/** Bytes of headers and the protocol line, for the check against max_payload. */
const HEADER_ALLOWANCE = 512;

interface Flight {
  readonly message: LogPublish;
  readonly bytes: number;
  /** Number of the reply subject, for all attempts: a late answer to an earlier one counts. */
  readonly number: number;
  sentAt: number;
  attempts: number;
  /** Under way: neither answered nor given up. */
  isOut: boolean;
}

export interface LogPublisherOptions {
  readonly connection: NatsConnection;
  readonly clock: Clock;
  /** Stored, but its live copy may never come: the log had the message already, or there was trouble before it answered. */
  readonly uncertain: (sequence: number) => void;
}

export class LogPublisher {
  readonly #options: LogPublisherOptions;
  readonly #inbox: string;
  /** Sent and not settled, by number, which is the order of publishing. */
  readonly #flights = new Map<number, Flight>();
  #queue: LogPublish[] = [];
  #queueStart = 0;
  /** Messages that may be under way; less while the stream takes less. */
  #window = WINDOW_MESSAGES;
  #storedSinceGrowth = 0;
  #hasShrunk = false;
  #bytes = 0;
  #out = 0;
  #next = 1;
  #isConnected = true;
  /** The oldest message waits for its answer for long. */
  #isStalled = false;
  /** Number of the message that goes alone after trouble: the others follow when it is settled. */
  #probe = 0;
  /** Number of the message stored last. */
  #lastStored = 0;
  /** To be sent again behind the probe, in their order. */
  #unsent: Flight[] = [];
  #maximumPayload = 0;
  /** Waits until nothing is out, then for a pause, then sends again. */
  #isRecovering = false;
  #pause = FIRST_PAUSE_MILLISECONDS;
  #cancelPause: CancelTimer | undefined;
  readonly #stopSweep: CancelTimer;
  #idle: Array<() => void> = [];
  /** By origin. */
  readonly #headers = new BoundedCache<MsgHdrs>(HEADER_CHARACTERS);

  constructor(options: LogPublisherOptions) {
    this.#options = options;
    const { clock, connection } = options;
    this.#inbox = newInbox(connection);
    this.#maximumPayload = connection.info?.max_payload ?? 0;
    const prefix = this.#inbox.length + 1;
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.#answered(wired(message).numberAfter(prefix), message);
      },
    });
    this.#stopSweep = clock.every(SWEEP_MILLISECONDS, () => this.#sweep());
  }

  /** What the window has no room for waits in the queue: as much as all clients together may have under way. */
  publish(message: LogPublish): void {
    if (this.#isRecovering || this.#isStalled || this.#waiting > 0 || this.#isFull) this.#queue.push(message);
    else this.#launch(message);
  }

  disconnected(): void {
    this.#isConnected = false;
    this.#probe = 0;
    for (const flight of this.#flights.values()) this.#giveUp(flight);
    this.#recover();
  }

  reconnected(): void {
    this.#isConnected = true;
    this.#resendWhenQuiet();
  }

  /** Resolves when nothing is queued or under way. */
  settled(): Promise<void> {
    if (this.#isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** NATS does not let this node publish there: without this no answer would come, and what waits behind it would wait for ever. */
  publishRefused(subject: string): void {
    if (!subject.startsWith(LOG_PREFIX)) return;
    const wanted = subject.slice(LOG_PREFIX.length);
    for (const flight of this.#flights.values()) {
      const { subject: own } = flight.message.route as NatsRoute; // routes come from NatsBus.route
      // Each refused message is told, in their order.
      if (flight.isOut && own === wanted) return this.#settle(flight, 'refused', 0);
    }
  }

  /** What was taken is neither sent again nor settled: other nodes answer for its clients now. */
  abandon(): void {
    this.#flights.clear();
    this.#queue = [];
    this.#queueStart = 0;
    this.#bytes = 0;
    this.#out = 0;
    this.#probe = 0;
    this.#unsent = [];
    // No answer will end the recovery: there is nothing left to be answered.
    if (this.#isRecovering) this.#resendWhenQuiet();
    this.#tellIdle();
  }

  close(): void {
    this.#stopSweep();
    this.#cancelPause?.();
    this.#isConnected = false;
    // What is published from now on waits, for nothing: the connection may be closed already.
    this.#isRecovering = true;
  }

  get #waiting(): number {
    return this.#queue.length - this.#queueStart;
  }

  get #isFull(): boolean {
    return this.#flights.size >= this.#window || this.#bytes >= WINDOW_BYTES;
  }

  get #isIdle(): boolean {
    return this.#flights.size === 0 && this.#waiting === 0;
  }

  #launch(message: LogPublish): void {
    if (!this.#fits(message)) return message.settled('tooLarge', 0);
    const number = this.#next++;
    const bytes = message.payload.length + (message.extras?.properties.length ?? 0) + HEADER_ALLOWANCE;
    const flight: Flight = { message, bytes, number, sentAt: 0, attempts: 0, isOut: false };
    this.#flights.set(number, flight);
    this.#bytes += bytes;
    this.#send(flight);
  }

  #send(flight: Flight): void {
    const { connection, clock } = this.#options;
    const { message, number } = flight;
    if (!this.#fits(message)) return this.#settle(flight, 'tooLarge', 0);
    const { subject } = message.route as NatsRoute; // routes come from NatsBus.route
    flight.isOut = true;
    flight.sentAt = clock.now();
    flight.attempts++;
    this.#out++;
    const headers = this.#headersOf(message);
    const reply = `${this.#inbox}.${number}`;
    connection.publish(LOG_PREFIX + subject, message.payload, headers === undefined ? { reply } : { reply, headers });
  }

  /** The server closes the whole connection on a message that it finds too large. */
  #fits({ extras, payload }: LogPublish): boolean {
    const properties = Math.ceil((extras?.properties.length ?? 0) / 3) * 4;
    // Unknown while the library dials: the last server's is the best guess then.
    this.#maximumPayload = this.#options.connection.info?.max_payload ?? this.#maximumPayload;
    return payload.length + properties + HEADER_ALLOWANCE <= this.#maximumPayload;
  }

  #headersOf({ expirySeconds, extras, messageId, qos }: LogPublish): MsgHdrs | undefined {
    const origin = extras?.origin ?? '';
    const hasProperties = extras !== undefined && extras.properties.length > 0;
    if (qos === 1 && !hasProperties && extras?.retain !== true && messageId === '' && expirySeconds === undefined)
      return this.#originHeaders(origin);
    let lines = qos === 1 ? '' : `${QOS_HEADER}: ${qos}\r\n`;
    if (origin !== '') lines += `${ORIGIN_HEADER}: ${origin}\r\n`;
    if (extras?.retain === true) lines += `${RETAIN_HEADER}: 1\r\n`;
    if (hasProperties) lines += `${PROPERTIES_HEADER}: ${extras.properties.toString('base64')}\r\n`;
    if (messageId !== '') lines += `Nats-Msg-Id: ${messageId}\r\n`;
    if (expirySeconds !== undefined) lines += `Nats-TTL: ${expirySeconds + TTL_MARGIN_SECONDS}\r\n`;
    return readyHeaders(lines);
  }

  /** Most messages have no other headers: made once per client. */
  #originHeaders(origin: string): MsgHdrs | undefined {
    if (origin === '') return undefined;
    const known = this.#headers.get(origin);
    if (known !== undefined) return known;
    const made = keptHeaders(`${ORIGIN_HEADER}: ${origin}\r\n`);
    this.#headers.add(origin, made);
    return made;
  }

  #answered(number: number, message: Msg): void {
    const flight = this.#flights.get(number);
    if (flight === undefined) return;
    const { data } = message;
    const sequence = sequenceOf(data);
    if (sequence > 0) return this.#stored(flight, sequence);
    const { duplicate, error, seq = 0 } = answerOf(data);
    if (error !== undefined || seq === 0) return this.#refused(flight, error ?? { code: 500 });
    if (duplicate !== true) return this.#stored(flight, seq);
    // Answered at once, before what is on its way to the store.
    this.#options.uncertain(seq);
    this.#settle(flight, 'stored', seq);
  }

  /** Whether an older message was sent no later and still waits for its answer. */
  #isPassedOver({ isOut, number, sentAt }: Flight): boolean {
    for (const oldest of this.#flights.values()) {
      if (oldest.number >= number) return false;
      if (oldest.isOut) return isOut && oldest.sentAt <= sentAt;
    }
    return false;
  }

  /** The leader stores and answers in order: what it passes over is lost, or its answer is. */
  #giveUpBefore(number: number): void {
    for (const flight of this.#flights.values()) {
      if (flight.number >= number) break;
      this.#giveUp(flight);
    }
    this.#recover();
  }

  #stored(flight: Flight, sequence: number): void {
    if (flight.number !== this.#lastStored + 1 && this.#isPassedOver(flight)) this.#giveUpBefore(flight.number);
    this.#lastStored = flight.number;
    if (flight.attempts > 1 || this.#isStalled) this.#options.uncertain(sequence);
    this.#pause = FIRST_PAUSE_MILLISECONDS;
    if (this.#window < WINDOW_MESSAGES && ++this.#storedSinceGrowth >= STORED_PER_GROWTH) {
      this.#storedSinceGrowth = 0;
      this.#window++;
    }
    this.#settle(flight, 'stored', sequence);
  }

  #refused(flight: Flight, error: PublishError): void {
    if (isTemporary(error)) {
      if (isTooMany(error)) this.#shrink();
      this.#giveUp(flight);
      this.#recover();
      return;
    }
    this.#settle(flight, outcomeOf(error), 0);
  }

  /** Once for all that was under way together. */
  #shrink(): void {
    if (this.#hasShrunk) return;
    this.#hasShrunk = true;
    this.#window = Math.max(SMALLEST_WINDOW, this.#window >> 1);
  }

  #settle(flight: Flight, outcome: LogOutcome, sequence: number): void {
    this.#flights.delete(flight.number);
    this.#bytes -= flight.bytes;
    if (flight.isOut) {
      flight.isOut = false;
      this.#out--;
    }
    flight.message.settled(outcome, sequence);
    if (flight.number === this.#probe) this.#resendRest();
    else if (this.#unsent.length > 0) this.#sendUnsent();
    else if (this.#isRecovering) this.#resendWhenQuiet();
    else this.#launchQueued();
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.#isIdle) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #launchQueued(): void {
    if (this.#waiting === 0 || this.#isStalled) return;
    while (this.#waiting > 0 && !this.#isFull) {
      const message = this.#queue[this.#queueStart++];
      if (message !== undefined) this.#launch(message);
    }
    if (this.#waiting > 0) {
      if (this.#queueStart > WINDOW_MESSAGES) this.#queue.splice(0, this.#queueStart);
      else return;
      this.#queueStart = 0;
      return;
    }
    this.#queue = [];
    this.#queueStart = 0;
  }

  #giveUp(flight: Flight): void {
    if (!flight.isOut) return;
    flight.isOut = false;
    this.#out--;
  }

  #recover(): void {
    this.#isRecovering = true;
    this.#unsent = [];
    this.#resendWhenQuiet();
  }

  /** Nothing under way any more: what is left goes again after a pause, oldest first. */
  #resendWhenQuiet(): void {
    if (this.#out > 0 || !this.#isConnected || this.#cancelPause !== undefined) return;
    this.#cancelPause = this.#options.clock.after(this.#pause, () => {
      this.#cancelPause = undefined;
      // Something may be under way again: its answer calls for the next pause.
      if (this.#isConnected && this.#out === 0) this.#resend();
    });
  }

  /** The oldest goes alone: if it is refused again, none behind it must have been stored. */
  #resend(): void {
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MILLISECONDS);
    for (const flight of this.#flights.values()) {
      if (flight.isOut) continue;
      this.#probe = flight.number;
      return this.#send(flight);
    }
    this.#resendRest();
  }

  /** Nothing new before the last of them: a message that settles meanwhile, too large for another server, must let none overtake. */
  #resendRest(): void {
    this.#probe = 0;
    this.#hasShrunk = false;
    this.#unsent = [...this.#flights.values()].filter(({ isOut }) => !isOut);
    this.#sendUnsent();
  }

  #sendUnsent(): void {
    // One by one: what settles when it is sent, too large for another server, brings us here again.
    while (this.#unsent.length > 0 && this.#out < this.#window) {
      const flight = this.#unsent.shift();
      // An answer to an earlier attempt may have come since.
      if (flight !== undefined && this.#flights.has(flight.number)) this.#send(flight);
    }
    if (this.#unsent.length > 0) return;
    this.#isRecovering = false;
    this.#launchQueued();
    this.#tellIdle();
  }

  #sweep(): void {
    const now = this.#options.clock.now();
    const limit = now - ANSWER_MILLISECONDS;
    const wasStalled = this.#isStalled;
    this.#isStalled = this.#oldestSentAt() <= now - STALL_MILLISECONDS;
    let isLate = false;
    // The oldest come first; those that were given up wait for the others.
    for (const flight of this.#flights.values()) {
      if (!flight.isOut) continue;
      if (flight.sentAt > limit) break;
      isLate = true;
      this.#giveUp(flight);
    }
    if (isLate) this.#recover();
    else if (wasStalled && !this.#isRecovering) this.#launchQueued();
  }

  /** Infinity when nothing is under way. */
  #oldestSentAt(): number {
    for (const { isOut, sentAt } of this.#flights.values()) if (isOut) return sentAt;
    return Number.POSITIVE_INFINITY;
  }
}
