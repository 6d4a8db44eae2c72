/**
 * What a server keeps of a user for SCRAM-SHA-256: salt, iterations and two keys, from which nobody gets the password back, and the
 * line of a file that holds them (RFC 5803). scram-file.ts reads such lines; the command `scram-user` of main.ts makes them.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { saslprep } from './saslprep.ts';

/** What is stored of a user. */
export interface ScramCredentials {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** What an operator gave cannot be used; the message is a sentence without secrets. */
export class ScramError extends Error {
  constructor(text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = 'ScramError';
  }
}

/** Of RFC 7677: what took 0.1 seconds on its authors' machines. The client pays it, the server does not. */
export const DEFAULT_ITERATIONS = 15_000;
export const DEFAULT_SALT_BYTES = 16;
const KEY_BYTES = 32;
/** Of the secret that credentials of unknown names are made from. */
export const SECRET_BYTES = 32;
/** Fewer are too few by RFC 7677; more would keep a small client busy for minutes. */
const ITERATIONS = { minimum: 4096, maximum: 1_000_000 };
const SALT_BYTES = { minimum: 8, maximum: 64 };
const FORMAT = 'name:SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey';

export function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest();
}

export function hmac(key: Buffer, data: string | Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

/** RFC 5802 section 3; `password` is prepared already. */
export function deriveCredentials(password: string, salt: Buffer, iterations: number): ScramCredentials {
  const salted = pbkdf2Sync(password, salt, iterations, KEY_BYTES, 'sha256');
  return {
    iterations,
    salt,
    storedKey: sha256(hmac(salted, 'Client Key')),
    serverKey: hmac(salted, 'Server Key'),
  };
}

/**
 * The line for a new user, without its end.
 * @throws ScramError for a name or a password that cannot be used
 */
export function makeUserLine(name: string, password: string): string {
  const preparedName = saslprep(name);
  if (preparedName === undefined || preparedName.startsWith('#'))
    throw new ScramError('The name must have at least one character, no control characters and no # in front.');
  const preparedPassword = saslprep(password);
  if (preparedPassword === undefined)
    throw new ScramError('The password must have at least one character and no control characters.');
  return formatUserLine(
    preparedName,
    deriveCredentials(preparedPassword, randomBytes(DEFAULT_SALT_BYTES), DEFAULT_ITERATIONS),
  );
}

export function formatUserLine(name: string, { iterations, salt, serverKey, storedKey }: ScramCredentials): string {
  const [saltText, stored, server] = [salt, storedKey, serverKey].map((bytes) => bytes.toString('base64'));
  return `${name}:SCRAM-SHA-256$${iterations}:${saltText}$${stored}:${server}`;
}

/** Name and credentials of a line. @throws ScramError; the message does not quote the line, which may hold keys */
export function parseUserLine(line: string): readonly [name: string, credentials: ScramCredentials] {
  const match = /^(.+):SCRAM-SHA-256\$(\d{1,9}):([^$:]+)\$([^$:]+):([^$:]+)$/u.exec(line);
  const [, nameText = '', iterationsText = '', saltText = '', storedText = '', serverText = ''] = match ?? [];
  const [salt, storedKey, serverKey] = [saltText, storedText, serverText].map(decodeBase64);
  if (salt === undefined || storedKey?.length !== KEY_BYTES || serverKey?.length !== KEY_BYTES)
    throw new ScramError(`is not ${FORMAT} with salt and keys in base64`);
  const name = saslprep(nameText);
  if (name === undefined) throw new ScramError('has a name with characters that are not allowed');
  const iterations = Number(iterationsText);
  if (!isWithin(iterations, ITERATIONS))
    throw new ScramError(
      `has ${iterations} iterations, but ${ITERATIONS.minimum} to ${ITERATIONS.maximum} are allowed`,
    );
  if (!isWithin(salt.length, SALT_BYTES))
    throw new ScramError(
      `has a salt of ${salt.length} bytes, but ${SALT_BYTES.minimum} to ${SALT_BYTES.maximum} are allowed`,
    );
  return [name, { iterations, salt, storedKey, serverKey }];
}

/** A line with a new secret for unknown names. */
export function makeSecretLine(): string {
  return `unknown-names:SECRET$${randomBytes(SECRET_BYTES).toString('base64')}`;
}

/**
 * The secret for unknown names, undefined for a line that has none. No user's line looks like it: the rest has no colon.
 * @throws ScramError that does not quote the line
 */
export function parseSecretLine(line: string): Buffer | undefined {
  const [, text] = /^unknown-names:SECRET\$([^:]*)$/u.exec(line) ?? [];
  if (text === undefined) return undefined;
  const secret = decodeBase64(text);
  if (secret?.length !== SECRET_BYTES)
    throw new ScramError(`is not unknown-names:SECRET$ with ${SECRET_BYTES} random bytes in base64 behind it`);
  return secret;
}

/** Undefined for what Buffer would read with leniency. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

function isWithin(value: number, { maximum, minimum }: { minimum: number; maximum: number }): boolean {
  return value >= minimum && value <= maximum;
}
