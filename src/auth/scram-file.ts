/**
 * The file with the users of SCRAM: read at the start, which a bad line stops, and again when it has changed; then bad content leaves
 * the users as they were. server.ts opens it.
 */
import type { CancelTimer, Clock } from '../clock.ts';
import { watchFile } from '../watched-file.ts';
import { parseSecretLine, parseUserLine, type ScramCredentials, ScramError } from './scram-credentials.ts';
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
    use: (text) => {
      const read = parseScramFile(text, path);
      users.replace(read.users, read.secret);
    },
    unreadable: (cause) => new ScramError(`auth.scram.file ${path} cannot be read.`, { cause }),
    changed,
    refused,
  });
  return { users, close };
}

/** What a file says. */
export interface ScramFileContent {
  /** By name. */
  readonly users: ReadonlyMap<string, ScramCredentials>;
  /** What unknown names are answered from. */
  readonly secret: Buffer | undefined;
}

/** @throws ScramError that names the line */
export function parseScramFile(text: string, path: string): ScramFileContent {
  const users = new Map<string, ScramCredentials>();
  let secret: Buffer | undefined;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    try {
      const lineSecret = parseSecretLine(line);
      if (lineSecret !== undefined) {
        if (secret !== undefined) throw new ScramError('is a second secret for unknown names');
        secret = lineSecret;
        continue;
      }
      const [name, credentials] = parseUserLine(line);
      if (users.has(name)) throw new ScramError('has a name that stands on a line before it');
      users.set(name, credentials);
    } catch (cause) {
      if (!(cause instanceof ScramError)) throw cause;
      throw new ScramError(`auth.scram.file ${path}: line ${index + 1} ${cause.message}.`);
    }
  }
  return { users, secret };
}
