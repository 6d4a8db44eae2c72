/**
 * Questions to JetStream on one connection: one inbox for all answers, numbered reply subjects, one sweep for those that never come. The
 * library's own request machinery is several times slower (docs/architecture.md).
 */
import type { Msg, MsgHdrs, NatsConnection } from 'nats';
import type { CancelTimer, Clock } from '../clock.ts';
import { newInbox } from './inbox.ts';
import { isNoResponders, wired } from './raw-message.ts';

/** Nobody answered, or nobody could: asking again may help. */
export class UnavailableError extends Error {
  constructor(what: string, options?: ErrorOptions) {
    super(what, options);
    this.name = 'UnavailableError';
  }
}

interface Refusal {
  readonly code: number;
  readonly description: string;
  readonly err_code?: number;
}

/** JetStream's own refusal. */
export class ApiError extends Error {
  readonly code: number;
  readonly errorCode: number;

  constructor({ code, description, err_code }: Refusal) {
    super(description);
    this.name = 'ApiError';
    this.code = code;
    this.errorCode = err_code ?? 0;
  }
}

const SWEEP_MILLISECONDS = 100;
const ANSWER_MILLISECONDS = 2_000;
const NO_MESSAGE = 10_037;

interface Question {
  readonly subject: string;
  readonly deadline: number;
  /** True when no further answer is expected. */
  readonly answered: (message: Msg) => boolean;
  readonly failed: (error: Error) => void;
}

/** The reply of STREAM.MSG.GET, decoded. */
export interface StoredMessage {
  readonly subject: string;
  readonly seq: number;
  /** base64; absent without headers. */
  readonly hdrs?: string;
  /** base64; absent when empty. */
  readonly data?: string;
  readonly time: string;
}

export class Requests {
  readonly connection: NatsConnection;
  readonly #clock: Clock;
  readonly #inbox: string;
  readonly #questions = new Map<number, Question>();
  readonly #stopSweep: CancelTimer;
  #next = 1;
  #isClosed = false;

  constructor(connection: NatsConnection, clock: Clock) {
    this.connection = connection;
    this.#clock = clock;
    this.#inbox = newInbox(connection);
    const prefix = this.#inbox.length + 1;
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.#answered(wired(message).numberAfter(prefix), message);
      },
    });
    this.#stopSweep = clock.every(SWEEP_MILLISECONDS, () => this.#sweep());
  }

  /** @throws UnavailableError without an answer */
  request(
    subject: string,
    data: string | Uint8Array,
    headers?: MsgHdrs,
    timeoutMs = ANSWER_MILLISECONDS,
  ): Promise<Msg> {
    return new Promise((resolve, reject) => {
      const answered = (message: Msg): boolean => {
        resolve(message);
        return true;
      };
      this.#ask({ subject, data, headers, timeoutMs }, answered, reject);
    });
  }

  /**
   * Answers until `take` returns true.
   * @throws UnavailableError when they stop before
   */
  collect(subject: string, data: string, take: (message: Msg) => boolean, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const answered = (message: Msg): boolean => {
        try {
          if (!take(message)) return false;
          resolve();
        } catch (error) {
          // Thrown into the library, it would end the connection of everybody.
          reject(error);
        }
        return true;
      };
      this.#ask({ subject, data, headers: undefined, timeoutMs }, answered, reject);
    });
  }

  /**
   * A call of the JetStream API, `$JS.API.` left out.
   * @throws ApiError, UnavailableError
   */
  async api<T>(call: string, body: unknown = '', timeoutMs = ANSWER_MILLISECONDS): Promise<T> {
    const answer = await this.#call<T>(call, body, timeoutMs);
    if (answer.error !== undefined) throw new ApiError(answer.error);
    return answer;
  }

  /** A message of a stream, the leader's word; undefined when there is none, which every new client hears: no error is made of it. */
  async getMessage(stream: string, query: object): Promise<StoredMessage | undefined> {
    const { error, message } = await this.#call<{ message: StoredMessage }>(`STREAM.MSG.GET.${stream}`, query);
    if (error === undefined) return message;
    if (error.err_code === NO_MESSAGE) return undefined;
    throw new ApiError(error);
  }

  /** The connection is lost: what was asked will not be answered. */
  disconnected(): void {
    for (const { failed, subject } of this.#takeAll())
      failed(new UnavailableError(`connection lost while asking ${subject}`));
  }

  /** What is asked from now on is rejected too: nobody would give it up. */
  close(): void {
    this.#isClosed = true;
    this.#stopSweep();
    this.disconnected();
  }

  async #call<T>(call: string, body: unknown, timeoutMs = ANSWER_MILLISECONDS): Promise<T & { error?: Refusal }> {
    const data = body === '' ? '' : JSON.stringify(body);
    const message = await this.request(`$JS.API.${call}`, data, undefined, timeoutMs);
    return JSON.parse(Buffer.from(message.data).toString()) as T & { error?: Refusal }; // decoded border: the server's JSON
  }

  #ask(
    {
      data,
      headers,
      subject,
      timeoutMs,
    }: { subject: string; data: string | Uint8Array; headers: MsgHdrs | undefined; timeoutMs: number },
    answered: Question['answered'],
    failed: Question['failed'],
  ): void {
    if (this.#isClosed || this.connection.isClosed()) return failed(new UnavailableError('the connection is closed'));
    const number = this.#next++;
    this.#questions.set(number, { subject, deadline: this.#clock.now() + timeoutMs, answered, failed });
    const reply = `${this.#inbox}.${number}`;
    this.connection.publish(subject, data, headers === undefined ? { reply } : { reply, headers });
  }

  #answered(number: number, message: Msg): void {
    const question = this.#questions.get(number);
    if (question === undefined) return;
    if (isNoResponders(message)) {
      this.#questions.delete(number);
      return question.failed(new UnavailableError(`nobody answers ${question.subject}`));
    }
    if (question.answered(message)) this.#questions.delete(number);
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const [number, { deadline, failed, subject }] of this.#questions) {
      if (deadline > now) continue;
      this.#questions.delete(number);
      failed(new UnavailableError(`no answer from ${subject} in time`));
    }
  }

  #takeAll(): Question[] {
    const all = [...this.#questions.values()];
    this.#questions.clear();
    return all;
  }
}
