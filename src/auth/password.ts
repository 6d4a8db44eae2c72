/**
 * Users with a password, from a file. An unknown name costs what a known one does, is left to the next link and, when that is the end,
 * refused in the same words as a wrong password. Hashes are made a few at a time, off the event loop; what has been found right is
 * remembered for a while, so that many clients can come back at once.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../clock.ts';
import {
  accepted,
  badCredentials,
  type ChainLink,
  type ConnectingClient,
  type Credentials,
  type Opinion,
  tooBusy,
  unknownClient,
} from './authenticator.ts';
import { anonymous } from './identity.ts';
import { OpinionCache } from './opinion-cache.ts';
import {
  DEFAULT_PARAMETERS,
  isPasswordOf,
  KEY_BYTES,
  type PasswordHash,
  type PasswordUser,
  SALT_BYTES,
} from './password-hash.ts';
import { WorkQueue } from './work-queue.ts';

export interface PasswordOptions {
  readonly clock: Clock;
  /** Hashes made at once, and how many may wait. */
  readonly concurrency: number;
  readonly queue: number;
  /** How long a right password is remembered, and how many of them. */
  readonly cacheSeconds: number;
  readonly cacheEntries: number;
}

const nothing = Buffer.alloc(0);

export class PasswordLink implements ChainLink {
  readonly name = 'password';
  readonly #options: PasswordOptions;
  readonly #queue: WorkQueue;
  readonly #right: OpinionCache<true>;
  #users: ReadonlyMap<string, PasswordUser> = new Map();
  /** What passwords of unknown names are compared with. */
  #decoy = decoyLike(undefined);

  constructor(options: PasswordOptions) {
    this.#options = options;
    this.#queue = new WorkQueue({ concurrency: options.concurrency, capacity: options.queue });
    this.#right = new OpinionCache(options.cacheSeconds === 0 ? 0 : options.cacheEntries);
  }

  /** These users from now on, and no others. */
  replace(users: ReadonlyMap<string, PasswordUser>): void {
    this.#users = users;
    const [some] = users.values();
    this.#decoy = decoyLike(some?.hash);
  }

  get count(): number {
    return this.#users.size;
  }

  async judge(client: ConnectingClient, { password = nothing, username }: Credentials): Promise<Opinion> {
    if (username === undefined) return unknownClient;
    const user = this.#users.get(username);
    const hash = user?.hash ?? this.#decoy;
    // With the stored key in it: a changed line makes what was remembered worthless.
    const key = this.#right.keyOf(username, password, hash.key);
    const now = this.#options.clock.now();
    const isRight =
      this.#right.get(key, now) ?? (await this.#queue.run(() => isPasswordOf(password, hash), client.isGone));
    if (isRight === undefined) return tooBusy;
    if (user === undefined) return unknownClient;
    if (!isRight) return badCredentials;
    this.#right.set(key, true, now + this.#options.cacheSeconds * 1000);
    return accepted({ ...anonymous, username, groups: user.groups });
  }
}

/** Takes as long as that of a user, and fits no password that anybody will find. */
function decoyLike(hash: PasswordHash | undefined): PasswordHash {
  const { parameters = DEFAULT_PARAMETERS } = hash ?? {};
  return { parameters, salt: randomBytes(SALT_BYTES), key: randomBytes(KEY_BYTES) };
}
