/**
 * Reads what matches a broad filter by consumers of the retained stream: the server then walks over it once, not once per page. A consumer
 * stands where its last page ended; whoever asks for what follows there goes on with it, and it ends by itself when nobody does.
 */
import { randomBytes } from 'node:crypto';
import type { Msg, Subscription } from 'nats';
import type { CancelTimer, Clock } from '../clock.ts';
import { type Place, placeOf } from './consumed.ts';
import { newInbox } from './inbox.ts';
import { type Requests, UnavailableError } from './jetstream.ts';

/** Small: taking one in holds up everybody else. */
const PAGE_MESSAGES = 128;
/** As much as the largest message that NATS carries by default. */
const PAGE_BYTES = 1024 * 1024;
const PAGE_MILLISECONDS = 2_000;
const CREATE_MILLISECONDS = 5_000;
/** A consumer that nobody asks ends after this time. */
const IDLE_SECONDS = 10;
/** Consumers that wait to be gone on with. */
const STANDING = 64;
const NANOSECONDS = 1e9;

export interface ScanOptions {
  /** Of the message connection: pages may be much. */
  readonly pages: Requests;
  readonly clock: Clock;
  readonly stream: string;
}

interface Scan {
  readonly subject: string;
  /** Of the last answer (`Clock.now`). */
  usedAt: number;
}

/** What a page ended with. */
export interface ScanPage {
  /** Position of the last message; the one asked for when there was none. */
  readonly reached: number;
  readonly isEnd: boolean;
}

export class RetainedScans {
  readonly #options: ScanOptions;
  /** By filter and position. */
  readonly #standing = new Map<string, Scan>();

  constructor(options: ScanOptions) {
    this.#options = options;
  }

  /**
   * Calls `take` for the messages on `filterSubject` behind `after`, a page of them.
   * @throws ApiError when no consumer can be made, UnavailableError without an answer
   */
  async page(filterSubject: string, after: number, take: (message: Msg, place: Place) => void): Promise<ScanPage> {
    const { clock } = this.#options;
    const scan = this.#goOn(filterSubject, after) ?? (await this.#begin(filterSubject, after));
    const page = await this.#pull(scan, after, take);
    if (!page.isEnd) {
      scan.usedAt = clock.now();
      this.#stand(`${page.reached} ${filterSubject}`, scan);
    }
    return page;
  }

  #goOn(filterSubject: string, after: number): Scan | undefined {
    const key = `${after} ${filterSubject}`;
    const scan = this.#standing.get(key);
    this.#standing.delete(key);
    const isOver = scan !== undefined && this.#options.clock.now() - scan.usedAt > (IDLE_SECONDS * 1000) / 2;
    return isOver ? undefined : scan;
  }

  #stand(key: string, scan: Scan): void {
    this.#standing.delete(key);
    for (const oldest of this.#standing.keys()) {
      if (this.#standing.size < STANDING) break;
      this.#standing.delete(oldest);
    }
    this.#standing.set(key, scan);
  }

  async #begin(filterSubject: string, after: number): Promise<Scan> {
    const { clock, pages, stream } = this.#options;
    const name = `smq-retained-${randomBytes(9).toString('base64url')}`;
    const config = {
      name,
      deliver_policy: 'by_start_sequence',
      opt_start_seq: after + 1,
      filter_subject: filterSubject,
      ack_policy: 'none',
      inactive_threshold: IDLE_SECONDS * NANOSECONDS,
      mem_storage: true,
      num_replicas: 1,
    };
    await pages.api(
      `CONSUMER.CREATE.${stream}.${name}`,
      { stream_name: stream, config, action: 'create' },
      CREATE_MILLISECONDS,
    );
    return { subject: `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`, usedAt: clock.now() };
  }

  /** An inbox of its own: messages of a consumer come with their own subject, which tells nothing of the question. */
  #pull(scan: Scan, after: number, take: (message: Msg, place: Place) => void): Promise<ScanPage> {
    const { clock, pages } = this.#options;
    const { connection } = pages;
    return new Promise((resolve, reject) => {
      const inbox = newInbox(connection);
      let count = 0;
      let reached = after;
      let pending = 0;
      let subscription: Subscription | undefined;
      let cancelTimeout: CancelTimer | undefined;
      const finish = (error?: Error): void => {
        subscription?.unsubscribe();
        cancelTimeout?.();
        if (error === undefined) resolve({ reached, isEnd: count === 0 || pending === 0 });
        else reject(error);
      };
      cancelTimeout = clock.after(PAGE_MILLISECONDS, () =>
        finish(new UnavailableError('a page of retained messages did not come')),
      );
      subscription = connection.subscribe(inbox, {
        callback: (error, message) => {
          const place = error === null ? placeOf(message.reply ?? '') : undefined;
          // A status: nothing more for now, or the consumer is gone.
          if (place === undefined)
            return finish(count === 0 && isGone(message) ? new UnavailableError('the consumer is gone') : undefined);
          count++;
          reached = place.sequence;
          ({ pending } = place);
          take(message, place);
          if (count === PAGE_MESSAGES || pending === 0) finish();
        },
      });
      const question = { batch: PAGE_MESSAGES, max_bytes: PAGE_BYTES, no_wait: true };
      connection.publish(scan.subject, JSON.stringify(question), { reply: inbox });
    });
  }
}

/** 404 without a message is the end of what matches; everything else says nothing of it. */
function isGone(message: Msg): boolean {
  return message.headers?.code !== 404;
}
