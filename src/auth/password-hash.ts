/**
 * What a server keeps of a user's password: a scrypt hash with its parameters (RFC 7914), and the line of a file that holds it.
 * password-file.ts reads such lines; the command `password-user` of main.ts makes them.
 */
import { randomBytes, type ScryptOptions, scrypt, scryptSync, timingSafeEqual } from 'node:crypto';

export interface PasswordUser {
  readonly hash: PasswordHash;
  readonly groups: readonly string[];
}

export interface PasswordHash {
  readonly parameters: ScryptParameters;
  readonly salt: Buffer;
  readonly key: Buffer;
}

/** As RFC 7914 names them; N is 2 to the power of `ln`. */
export interface ScryptParameters {
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

/** What an operator gave cannot be used; the message is a sentence without secrets. */
export class PasswordError extends Error {
  constructor(text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = 'PasswordError';
  }
}

/** 16 MiB and some 40 ms: what the authors of scrypt propose for interactive logins. */
export const DEFAULT_PARAMETERS: ScryptParameters = { ln: 14, r: 8, p: 1 };
export const SALT_BYTES = 16;
export const KEY_BYTES = 32;
const LIMITS = { ln: { minimum: 12, maximum: 17 }, r: { minimum: 8, maximum: 8 }, p: { minimum: 1, maximum: 16 } };
const FORMAT =
  'name:$scrypt$ln=14,r=8,p=1$salt$key, perhaps with :group,group behind it, salt and key in base64 without =';

/** The line for a new user, without its end. @throws PasswordError for a name, a group or a password that cannot be used */
export function makePasswordLine(name: string, password: string, groups: readonly string[]): string {
  if (!isName(name) || name.includes(':$scrypt$'))
    throw new PasswordError('The name must have at least one character, no control characters and no # in front.');
  if (!groups.every(isGroup)) throw new PasswordError('A group is of letters, digits and the characters _ . @ / -');
  if (password === '') throw new PasswordError('The password must have at least one character.');
  const salt = randomBytes(SALT_BYTES);
  const key = scryptSync(password, salt, KEY_BYTES, scryptOptions(DEFAULT_PARAMETERS));
  return formatPasswordLine(name, { hash: { parameters: DEFAULT_PARAMETERS, salt, key }, groups });
}

export function formatPasswordLine(name: string, { groups, hash: { key, parameters, salt } }: PasswordUser): string {
  const { ln, p, r } = parameters;
  const [saltText, keyText] = [salt, key].map((bytes) => bytes.toString('base64').replace(/=+$/, ''));
  const line = `${name}:$scrypt$ln=${ln},r=${r},p=${p}$${saltText}$${keyText}`;
  return groups.length === 0 ? line : `${line}:${groups.join(',')}`;
}

/** Name and user of a line. @throws PasswordError; the message does not quote the line, which has a hash to guess by */
export function parsePasswordLine(line: string): readonly [name: string, user: PasswordUser] {
  const match =
    /^(?<name>.+):\$scrypt\$ln=(?<ln>\d{1,2}),r=(?<r>\d{1,2}),p=(?<p>\d{1,2})\$(?<salt>[^$:]+)\$(?<key>[^$:]+)(?::(?<groups>.*))?$/u.exec(
      line,
    );
  const { groups: groupText, key: keyText = '', ln, name = '', p, r, salt: saltText = '' } = match?.groups ?? {};
  const [salt, key] = [saltText, keyText].map(decodeUnpadded);
  if (salt === undefined || key?.length !== KEY_BYTES) throw new PasswordError(`is not ${FORMAT}`);
  if (!isName(name)) throw new PasswordError('has a name with characters that are not allowed');
  if (salt.length < 8 || salt.length > 64) throw new PasswordError('has a salt that is not of 8 to 64 bytes');
  const parameters = { ln: Number(ln), r: Number(r), p: Number(p) };
  for (const [letter, { maximum, minimum }] of Object.entries(LIMITS)) {
    const value = parameters[letter as keyof ScryptParameters]; // the same keys
    if (value < minimum || value > maximum)
      throw new PasswordError(`has ${letter}=${value}, but ${minimum} to ${maximum} is allowed`);
  }
  const groups = groupText === undefined ? [] : groupText.split(',');
  if (!groups.every(isGroup)) throw new PasswordError('has a group with characters that are not allowed');
  return [name, { hash: { parameters, salt, key }, groups }];
}

/** In a thread of its own. */
export function isPasswordOf(password: Buffer, { key, parameters, salt }: PasswordHash): Promise<boolean> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, KEY_BYTES, scryptOptions(parameters), (error, derived) => {
      if (error === null) resolve(timingSafeEqual(derived, key));
      else reject(error);
    });
  });
}

/** Node asks to be told that the memory is meant. */
function scryptOptions({ ln, p, r }: ScryptParameters): ScryptOptions {
  const N = 2 ** ln;
  return { N, r, p, maxmem: 128 * r * (N + p + 8) };
}

function isName(text: string): boolean {
  return /^(?!#)\P{Cc}+$/u.test(text);
}

function isGroup(text: string): boolean {
  return /^[\p{L}\p{N}_.@/-]+$/u.test(text);
}

/** Undefined for what Buffer would read with leniency. */
function decodeUnpadded(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64').replace(/=+$/, '') === text ? bytes : undefined;
}
