/**
 * A service that knows the clients, asked over HTTP. It allows, denies, or leaves the client to the next link; whatever else comes, or
 * nothing, means that it cannot say now. Bounded: questions at once, those that wait, time, the size of an answer, what is remembered.
 */
import { type AccessRule, AccessRuleError, readRules } from '../access/rule.ts';
import type { Clock } from '../clock.ts';
import {
  accepted,
  type ChainLink,
  type ConnectingClient,
  type Credentials,
  notAuthorized,
  type Opinion,
  tooBusy,
  unavailable,
  unknownClient,
} from './authenticator.ts';
import { fetchJson } from './bounded-fetch.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import { OpinionCache } from './opinion-cache.ts';
import { readGroups } from './user-claims.ts';
import { WorkQueue } from './work-queue.ts';

const MAXIMUM_BYTES = 256 * 1024;
const MAXIMUM_NAME_CHARACTERS = 1_024;

export interface HttpHookOptions {
  readonly clock: Clock;
  readonly url: string;
  /** Sent along; empty = none. */
  readonly secret: () => string;
  readonly timeoutMs: number;
  readonly concurrency: number;
  readonly queue: number;
  readonly failures: number;
  readonly pauseSeconds: number;
  readonly cacheSeconds: number;
  readonly refusedCacheSeconds: number;
  readonly cacheEntries: number;
  /** It is left alone for a while after this failure, or answers again. */
  readonly failed: (cause: unknown) => void;
  readonly answers: () => void;
}

export class HttpHookLink implements ChainLink {
  readonly name = 'http';
  readonly #options: HttpHookOptions;
  readonly #queue: WorkQueue;
  readonly #breaker: CircuitBreaker;
  /** Apart, so that a flood of wrong credentials pushes nobody out that is allowed. */
  readonly #allowed: OpinionCache<Opinion>;
  readonly #refused: OpinionCache<Opinion>;

  constructor(options: HttpHookOptions) {
    this.#options = options;
    this.#queue = new WorkQueue({ concurrency: options.concurrency, capacity: options.queue });
    const { answers: closed, failed: opened } = options;
    this.#breaker = new CircuitBreaker({ ...options, closed, opened });
    this.#allowed = new OpinionCache(options.cacheEntries);
    this.#refused = new OpinionCache(options.cacheEntries);
  }

  async judge(client: ConnectingClient, credentials: Credentials): Promise<Opinion> {
    const question = questionOf(client, credentials);
    const key = this.#allowed.keyOf(question);
    const now = this.#options.clock.now();
    const known = this.#allowed.get(key, now) ?? this.#refused.get(key, now);
    if (known !== undefined) return known;
    const ask = (): Promise<Opinion> => this.#ask(question, credentials);
    const opinion = await this.#queue.run(ask, client.isGone);
    if (opinion !== undefined && opinion.kind !== 'unavailable') this.#remember(key, opinion);
    return opinion ?? tooBusy;
  }

  async #ask(body: string, credentials: Credentials): Promise<Opinion> {
    const { clock, secret, timeoutMs, url } = this.#options;
    const headers: Record<string, string> = secret() === '' ? {} : { authorization: `Bearer ${secret()}` };
    try {
      const opinion = await this.#breaker.ask(async () => {
        const answer = await fetchJson({ url, timeoutMs, maximumBytes: MAXIMUM_BYTES, headers, body });
        return readAnswer(answer, credentials, clock.wall());
      });
      return opinion ?? unavailable('authentication is not available');
    } catch {
      // The breaker has seen it, and tells of it when it opens.
      return unavailable('authentication is not available');
    }
  }

  /** No longer than the credentials are good. */
  #remember(key: string, opinion: Opinion): void {
    const { cacheSeconds, clock, refusedCacheSeconds } = this.#options;
    const isAccepted = opinion.kind === 'accepted';
    const left = isAccepted ? opinion.identity.expiresAt - clock.wall() : Number.POSITIVE_INFINITY;
    const milliseconds = Math.min((isAccepted ? cacheSeconds : refusedCacheSeconds) * 1000, left);
    const cache = isAccepted ? this.#allowed : this.#refused;
    if (milliseconds > 0) cache.set(key, opinion, clock.now() + milliseconds);
  }
}

/** What is asked; it is the same whenever the answer should be. */
function questionOf({ clientId, peer, version }: ConnectingClient, { password, username }: Credentials): string {
  const { address, certificate, listener } = peer();
  return JSON.stringify({ clientId, username, ...passwordOf(password), version, address, listener, certificate });
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** JSON has texts only. */
function passwordOf(password: Buffer | undefined): { password?: string; passwordBase64?: string } {
  if (password === undefined) return {};
  try {
    return { password: utf8.decode(password) };
  } catch {
    return { passwordBase64: password.toString('base64') };
  }
}

/** @throws Error for what is no answer */
export function readAnswer(answer: unknown, { username: given }: Credentials, now: number): Opinion {
  if (typeof answer !== 'object' || answer === null) throw new Error('the answer is not an object');
  const {
    expiresInSeconds,
    groups: groupList,
    result,
    rules,
    username = given ?? '',
  } = answer as Record<string, unknown>;
  if (result === 'deny') return notAuthorized('not authorized');
  if (result === 'ignore') return unknownClient;
  if (result !== 'allow') throw new Error('the result is none of allow, deny, ignore');
  if (typeof username !== 'string' || username.length > MAXIMUM_NAME_CHARACTERS) throw new Error('username is no name');
  const groups = readGroups(groupList);
  if (groups === undefined) throw new Error('groups is no list of names');
  const expiresAt =
    expiresInSeconds === undefined ? Number.POSITIVE_INFINITY : now + secondsOf(expiresInSeconds) * 1000;
  return accepted({ username, groups, rules: rulesOf(rules), expiresAt });
}

function secondsOf(value: unknown): number {
  if (typeof value !== 'number' || !(value > 0)) throw new Error('expiresInSeconds is not a number above 0');
  return value;
}

function rulesOf(value: unknown): readonly AccessRule[] | undefined {
  try {
    return value === undefined ? undefined : readRules(value);
  } catch (cause) {
    if (cause instanceof AccessRuleError) throw new Error(cause.message, { cause });
    throw cause;
  }
}
