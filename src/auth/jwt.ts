/**
 * Clients that show a signed token (RFC 7519), as password or user name of CONNECT, or by the authentication method `JWT`, which also
 * renews it while the client is connected. What does not look like a token is somebody else's; a token is ours, and good or refused.
 */
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose';
import { type AccessRule, AccessRuleError, readRules } from '../access/rule.ts';
import type { Clock } from '../clock.ts';
import { Reason } from '../mqtt/reason.ts';
import {
  accepted,
  type ChainLink,
  type ConnectingClient,
  type Credentials,
  type Exchange,
  notAuthorized,
  type Opinion,
  type Refusal,
  tooBusy,
  unavailable,
  unknownClient,
  type Verdict,
} from './authenticator.ts';
import type { Identity } from './identity.ts';
import type { TokenAlgorithm, TokenKey } from './token-keys.ts';
import { readGroups } from './user-claims.ts';
import { WorkQueue } from './work-queue.ts';

/** The authentication method of MQTT 5: the token is the data. */
export const JWT_METHOD = 'JWT';
const MAXIMUM_TOKEN_CHARACTERS = 16_384;
const MAXIMUM_NAME_CHARACTERS = 1_024;
/** Keys without an id that one token is tried with. */
const MAXIMUM_TRIES = 8;
/** Signatures are cheap; a flood of them is still taken in turns. */
const QUEUE = { concurrency: 16, capacity: 10_000 };

export interface JwtOptions {
  readonly clock: Clock;
  readonly keys: TokenKeys;
  readonly algorithms: readonly TokenAlgorithm[];
  readonly field: 'password' | 'username';
  /** Empty = not checked; so are claims that are not named. */
  readonly issuer: string;
  readonly audience: string;
  readonly clockSkewSeconds: number;
  readonly expiryRequired: boolean;
  readonly usernameClaim: string;
  readonly clientIdClaim: string;
  readonly groupsClaim: string;
  readonly rulesClaim: string;
}

/** Where keys come from. */
export interface TokenKeys {
  /** Those in use now. */
  all(): readonly TokenKey[];
  /** Whether there may be others that cannot be had at the moment. */
  mayMiss(): boolean;
  /** Resolves when it has been looked for others, as far as that is due. */
  lookAgain(): Promise<void>;
}

export class JwtLink implements ChainLink {
  readonly name = 'jwt';
  readonly #options: JwtOptions;
  readonly #queue = new WorkQueue(QUEUE);

  constructor(options: JwtOptions) {
    this.#options = options;
  }

  judge(client: ConnectingClient, credentials: Credentials): Opinion | Promise<Opinion> {
    const token = this.#options.field === 'password' ? credentials.password?.toString('latin1') : credentials.username;
    return token !== undefined && looksLikeToken(token) ? this.#judgeToken(token, client) : unknownClient;
  }

  readonly begin = (method: string, client: ConnectingClient): Exchange | undefined => {
    if (method !== JWT_METHOD) return undefined;
    return { step: (data) => this.#step(data, client) };
  };

  async #step(data: Buffer | undefined, client: ConnectingClient): Promise<Verdict> {
    const token = data?.toString('latin1') ?? '';
    const opinion = looksLikeToken(token) ? await this.#judgeToken(token, client) : notAuthorized('not a token');
    switch (opinion.kind) {
      case 'accepted':
        return { kind: 'success', identity: opinion.identity, data: undefined };
      case 'unavailable':
        return { ...opinion, kind: 'refused' };
      case 'unknown':
        return notAuthorized('not a token');
      case 'refused':
        return opinion;
    }
  }

  async #judgeToken(token: string, client: ConnectingClient): Promise<Opinion> {
    return (await this.#queue.run(() => this.#check(token, client), client.isGone)) ?? tooBusy;
  }

  async #check(token: string, client: ConnectingClient): Promise<Opinion> {
    const header = headerOf(token);
    const algorithm = this.#options.algorithms.find((name) => name === header?.alg);
    if (header === undefined || algorithm === undefined) return refused('a token of another kind than is accepted');
    const keys = await this.#keysFor(algorithm, header.kid);
    if (keys.length === 0 && algorithm !== 'HS256' && this.#options.keys.mayMiss())
      return unavailable('the keys of tokens cannot be had');
    for (const { key } of keys.slice(0, MAXIMUM_TRIES)) {
      const claims = await this.#verify(token, key, algorithm);
      if (claims !== 'not by this key') return 'kind' in claims ? claims : this.#readClaims(claims.payload, client);
    }
    return refused('a token that nobody known has signed');
  }

  async #keysFor(algorithm: TokenAlgorithm, id: string | undefined): Promise<readonly TokenKey[]> {
    const { keys } = this.#options;
    const fitting = (): readonly TokenKey[] =>
      keys
        .all()
        .filter((key) => key.algorithms.includes(algorithm))
        .filter((key) => id === undefined || key.id === undefined || key.id === id);
    const found = fitting();
    if (found.length > 0 || algorithm === 'HS256') return found;
    await keys.lookAgain();
    return fitting();
  }

  async #verify(
    token: string,
    key: TokenKey['key'],
    algorithm: TokenAlgorithm,
  ): Promise<{ readonly payload: JWTPayload } | Refusal | 'not by this key'> {
    const { audience, clock, clockSkewSeconds, expiryRequired, issuer } = this.#options;
    try {
      return await jwtVerify(token, key, {
        algorithms: [algorithm],
        clockTolerance: clockSkewSeconds,
        currentDate: new Date(clock.wall()),
        ...(issuer === '' ? {} : { issuer }),
        ...(audience === '' ? {} : { audience }),
        ...(expiryRequired ? { requiredClaims: ['exp'] } : {}),
      });
    } catch (error) {
      if (error instanceof errors.JWSSignatureVerificationFailed) return 'not by this key';
      if (error instanceof errors.JWTExpired) return refused('a token that has expired');
      if (error instanceof errors.JWTClaimValidationFailed)
        return refused(`a token whose claim ${error.claim} does not fit`);
      if (error instanceof errors.JOSEError) return refused('a token that cannot be read');
      throw error;
    }
  }

  #readClaims(claims: JWTPayload, { clientId }: ConnectingClient): Opinion {
    const { clientIdClaim, clockSkewSeconds, groupsClaim, rulesClaim, usernameClaim } = this.#options;
    const username = claims[usernameClaim];
    if (typeof username !== 'string' || username === '' || username.length > MAXIMUM_NAME_CHARACTERS)
      return refused('a token without a user name');
    if (clientIdClaim !== '' && claims[clientIdClaim] !== clientId)
      return notAuthorized('a token for another client id');
    const groups = groupsClaim === '' ? [] : readGroups(claims[groupsClaim]);
    if (groups === undefined) return refused('a token with groups that cannot be read');
    const rules = readClaimedRules(rulesClaim === '' ? undefined : claims[rulesClaim]);
    if (rules === 'not readable') return refused('a token with rules that cannot be read');
    const { exp = Number.POSITIVE_INFINITY } = claims;
    const identity: Identity = { username, groups, rules, expiresAt: (exp + clockSkewSeconds) * 1000 };
    return accepted(identity);
  }
}

function refused(text: string): Refusal {
  return { kind: 'refused', reason: Reason.badUserNameOrPassword, text };
}

/** Three parts of base64url, the first of which begins with `{"`. The last may be empty, as in tokens that nobody has signed. */
export function looksLikeToken(text: string): boolean {
  return text.length <= MAXIMUM_TOKEN_CHARACTERS && /^eyJ[\w-]+\.[\w-]*\.[\w-]*$/.test(text);
}

function headerOf(token: string): { readonly alg?: string | undefined; readonly kid?: string | undefined } | undefined {
  try {
    const { alg, kid } = decodeProtectedHeader(token);
    return kid === undefined || typeof kid === 'string' ? { alg, kid } : undefined;
  } catch {
    return undefined; // the caller refuses it
  }
}

function readClaimedRules(value: unknown): readonly AccessRule[] | undefined | 'not readable' {
  if (value === undefined) return undefined;
  try {
    return readRules(value);
  } catch (error) {
    if (error instanceof AccessRuleError) return 'not readable';
    throw error;
  }
}
