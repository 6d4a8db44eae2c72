/**
 * A file of the operator that may change while the server runs: read at the start, which bad content stops, and again when it has changed;
 * then bad content leaves things as they were. Used for users, rules, keys and certificates.
 */
import { readFileSync, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { CancelTimer, Clock } from './clock.ts';

/** Looked at, not watched: works on network file systems and with files that are replaced through links. */
const LOOK_MILLISECONDS = 1_000;

export interface WatchedFileOptions {
  readonly path: string;
  readonly clock: Clock;
  /** Takes the content, the first time and whenever it has changed; throws when it cannot be used. */
  readonly use: (content: string) => void;
  /** Makes the error of a file that cannot be read. */
  readonly unreadable: (cause: unknown) => Error;
  /** New content is in use. */
  readonly changed: () => void;
  /** New content cannot be used; the message says why. */
  readonly refused: (error: Error) => void;
}

/** Returns what ends the looking. @throws what `use` and `unreadable` make */
export function watchFile({ changed, clock, path, refused, unreadable, use }: WatchedFileOptions): CancelTimer {
  // Before it is read: what changes meanwhile is seen at the next look.
  let seen = stampNow(path);
  use(readNow(path, unreadable));
  let isLooking = false;
  /** What could not be read: tried again at every look, told once. */
  let unread = '';
  const look = async (): Promise<void> => {
    const stamp = await stampOf(path);
    if (stamp === seen) return;
    const text = await readFile(path, 'utf8').catch((cause: unknown) => {
      if (stamp === unread) return undefined;
      unread = stamp;
      throw unreadable(cause);
    });
    if (text === undefined) return;
    [seen, unread] = [stamp, ''];
    use(text);
    changed();
  };
  return clock.every(LOOK_MILLISECONDS, () => {
    if (isLooking) return;
    isLooking = true;
    look()
      .catch(refused)
      .finally(() => {
        isLooking = false;
      });
  });
}

function readNow(path: string, unreadable: WatchedFileOptions['unreadable']): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(cause);
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
