/**
 * The file with users and their passwords: read at the start, which a bad line stops, and again when it has changed; then bad content
 * leaves the users as they were. node/authentication.ts opens it.
 */
import type { CancelTimer } from '../clock.ts';
import { type WatchedFileOptions, watchFile } from '../watched-file.ts';
import { PasswordError, type PasswordUser, parsePasswordLine } from './password-hash.ts';

/** `users` gets all of them, the first time and whenever they have changed. */
export interface PasswordFileOptions extends Pick<WatchedFileOptions, 'path' | 'clock' | 'changed' | 'refused'> {
  readonly users: (users: ReadonlyMap<string, PasswordUser>) => void;
}

/** Returns what closes it. @throws PasswordError that names the file and the line */
export function openPasswordFile({ users, ...file }: PasswordFileOptions): CancelTimer {
  return watchFile({
    ...file,
    use: (text) => users(parsePasswordFile(text, file.path)),
    unreadable: (cause) => new PasswordError(`auth.password.file ${file.path} cannot be read.`, { cause }),
  });
}

/** Every user by name. @throws PasswordError that names the line */
export function parsePasswordFile(text: string, path: string): Map<string, PasswordUser> {
  const users = new Map<string, PasswordUser>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    try {
      const [name, user] = parsePasswordLine(line);
      if (users.has(name)) throw new PasswordError('has a name that stands on a line before it');
      users.set(name, user);
    } catch (cause) {
      if (!(cause instanceof PasswordError)) throw cause;
      throw new PasswordError(`auth.password.file ${path}: line ${index + 1} ${cause.message}.`);
    }
  }
  return users;
}
