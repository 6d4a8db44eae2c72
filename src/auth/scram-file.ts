/**
 * The file with the users of SCRAM: read at the start, which a bad line stops, and again when it has changed; then bad content leaves
 * the users as they were. server.ts opens it.
 */
import type { CancelTimer, Clock } from '../clock.ts';
import { watchFile } from '../watched-file.ts';
import { parseUserLine, type ScramCredentials, ScramError } from './scram-credentials.ts';
import { ScramUsers } from './scram-users.ts';

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
  const users = new ScramUsers(new Map());
  const close: CancelTimer = watchFile({
    path,
    clock,
    use: (text) => users.replace(parseUsers(text, path)),
    unreadable: (cause) => new ScramError(`auth.scram.file ${path} cannot be read.`, { cause }),
    changed,
    refused,
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
