/**
 * Keys that tokens are signed with, each bound to the algorithms of its kind: what a token says of its algorithm picks among them, and
 * can never make a public key a secret. jwt.ts asks; node/authentication.ts fills it from files, jwks-url.ts from a URL.
 */
import { createPublicKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto';

export type TokenAlgorithm = 'HS256' | 'RS256' | 'PS256' | 'ES256' | 'EdDSA';

export interface TokenKey {
  /** Absent in PEM files: such a key is tried whatever the token names. */
  readonly id: string | undefined;
  readonly algorithms: readonly TokenAlgorithm[];
  readonly key: KeyObject;
}

/** Keys that cannot be used; the message is a phrase without secrets. */
export class TokenKeyError extends Error {
  constructor(text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = 'TokenKeyError';
  }
}

/** RFC 7518 section 3.2 */
const MINIMUM_SECRET_BYTES = 32;
const MINIMUM_MODULUS_BITS = 2048;
const MAXIMUM_KEYS = 100;

/** The text of a file as the secret of HS256, without the end of its last line. @throws TokenKeyError */
export function parseSecret(text: string): readonly TokenKey[] {
  const secret = Buffer.from(text.replace(/\r?\n$/, ''));
  if (secret.length < MINIMUM_SECRET_BYTES)
    throw new TokenKeyError(`has ${secret.length} bytes, but ${MINIMUM_SECRET_BYTES} or more are needed`);
  return [{ id: undefined, algorithms: ['HS256'], key: createSecretKey(secret) }];
}

/** Public keys as PEM, one or several, or as JWKS. @throws TokenKeyError */
export function parsePublicKeys(text: string): readonly TokenKey[] {
  return text.trimStart().startsWith('{') ? parseJwks(parseJson(text)) : parsePem(text);
}

/** Keys for something else are left out; none that is left is a mistake. @throws TokenKeyError */
export function parseJwks(value: unknown): readonly TokenKey[] {
  const list = typeof value === 'object' && value !== null && 'keys' in value ? value.keys : undefined;
  if (!Array.isArray(list)) throw new TokenKeyError('has no list of keys');
  if (list.length > MAXIMUM_KEYS) throw new TokenKeyError(`has more than ${MAXIMUM_KEYS} keys`);
  const keys = list.flatMap((entry: unknown) => readJwk(entry) ?? []);
  if (keys.length === 0) throw new TokenKeyError('has no public key for RS256, PS256, ES256 or EdDSA');
  return keys;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new TokenKeyError('is not JSON'); // the parser's words may quote it
  }
}

function parsePem(text: string): readonly TokenKey[] {
  const blocks = text.match(/-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----/g) ?? [];
  if (blocks.length === 0) throw new TokenKeyError('is neither PEM nor JWKS');
  if (blocks.length > MAXIMUM_KEYS) throw new TokenKeyError(`has more than ${MAXIMUM_KEYS} keys`);
  return blocks.map((block, index) => {
    const what = `key ${index + 1}`;
    if (block.includes('PRIVATE KEY')) throw new TokenKeyError(`${what} is private: only public ones belong here`);
    const key = publicKey(block);
    const algorithms = key === undefined ? [] : algorithmsOf(key);
    if (key === undefined || algorithms.length === 0) throw new TokenKeyError(`${what} is for none of the algorithms`);
    return { id: undefined, algorithms, key };
  });
}

function readJwk(entry: unknown): TokenKey | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined;
  const { alg, kid, kty, use } = entry as Record<string, unknown>;
  if (kty === 'oct' || (use !== undefined && use !== 'sig')) return undefined;
  const key = publicKey({ key: entry as JsonWebKey, format: 'jwk' }); // createPublicKey checks it
  if (key === undefined) return undefined;
  const algorithms = algorithmsOf(key).filter((name) => alg === undefined || alg === name);
  return algorithms.length === 0 ? undefined : { id: typeof kid === 'string' ? kid : undefined, algorithms, key };
}

function publicKey(input: Parameters<typeof createPublicKey>[0]): KeyObject | undefined {
  try {
    return createPublicKey(input);
  } catch {
    return undefined; // the caller says which one
  }
}

function algorithmsOf({ asymmetricKeyDetails, asymmetricKeyType }: KeyObject): readonly TokenAlgorithm[] {
  if (asymmetricKeyType === 'rsa')
    return (asymmetricKeyDetails?.modulusLength ?? 0) >= MINIMUM_MODULUS_BITS ? ['RS256', 'PS256'] : [];
  if (asymmetricKeyType === 'ec') return asymmetricKeyDetails?.namedCurve === 'prime256v1' ? ['ES256'] : [];
  return asymmetricKeyType === 'ed25519' ? ['EdDSA'] : [];
}
