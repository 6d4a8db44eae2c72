/**
 * The file with the users of SCRAM: read at the start, which a bad line stops, and again when it has changed; then bad content leaves
 * the users as they were. server.ts opens it.
 */
import { readFileSync, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { CancelTimer, Clock } from '../clock.ts';
import { parseUserLine, type ScramCredentials, ScramError } from './scram-credentials.ts';
import { ScramUsers } from './scram-users.ts';

/** Looked at, not watched: works on network file systems and with files that are replaced through links. */
const LOOK_MILLISECONDS = 1_000;

export interface ScramFileOptions {
  readonly path: string;
  readonly clock: Clock;
  /** New content is in use. */
  readonly changed: () => void;
  /** New content cannot be used; the message says why. */
  readonly refused: (error: Error) => void;
}

/** An open file of users. */
export interface ScramFile {
  readonly users: ScramUsers;
  close(): void;
}

/** @throws ScramError that names the file and the line */
export function openScramFile({ changed, clock, path, refused }: ScramFileOptions): ScramFile {
  // Before it is read: what changes meanwhile is seen at the next look.
  let seen = stampNow(path);
  const users = new ScramUsers(parseUsers(readNow(path), path));
  let isLooking = false;
  /** What could not be read: tried again at every look, told once. */
  let unread = '';
  const look = async (): Promise<void> => {
    const stamp = await stampOf(path);
    if (stamp === seen) return;
    const text = await readFile(path, 'utf8').catch((cause: unknown) => {
      if (stamp === unread) return undefined;
      unread = stamp;
      throw new ScramError(`auth.scram.file ${path} cannot be read.`, { cause });
    });
    if (text === undefined) return;
    [seen, unread] = [stamp, ''];
    users.replace(parseUsers(text, path));
    changed();
  };
  const close: CancelTimer = clock.every(LOOK_MILLISECONDS, () => {
    if (isLooking) return;
    isLooking = true;
    look()
      .catch(refused)
      .finally(() => {
        isLooking = false;
      });
  });
  return { users, close };
}

/** Every user by name. @throws ScramError that names the line */
export function parseUsers(text: string, path: string): Map<string, ScramCredentials> {
  const users = new Map<string, ScramCredentials>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    try {
      const [name, credentials] = parseUserLine(line);
      if (users.has(name)) throw new ScramError('has a name that stands on a line before it');
      users.set(name, credentials);
    } catch (cause) {
      if (!(cause instanceof ScramError)) throw cause;
      throw new ScramError(`auth.scram.file ${path}: line ${index + 1} ${cause.message}.`);
    }
  }
  return users;
}

function readNow(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ScramError(`auth.scram.file ${path} cannot be read.`, { cause });
  }
}

interface Stamped {
  readonly ino: bigint;
  /** Moves with the content, whatever the time of modification is set to, and with the rights to read it. */
  readonly ctimeNs: bigint;
  readonly size: bigint;
}

function stampText({ ctimeNs, ino, size }: Stamped): string {
  return `${ino}:${ctimeNs}:${size}`;
}

function stampNow(path: string): string {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? 'missing' : stampText(found);
}

/** Reading a file that is not there any more says what is wrong with it. */
async function stampOf(path: string): Promise<string> {
  return stat(path, { bigint: true }).then(stampText, () => 'missing');
}
