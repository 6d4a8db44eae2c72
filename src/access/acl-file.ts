/**
 * The file of access rules: read at the start, which bad content stops, and again when it has changed; then bad content leaves the rules as
 * they were. node/access.ts opens it.
 */
import type { CancelTimer, Clock } from '../clock.ts';
import { watchFile } from '../watched-file.ts';
import { type AclEntries, parseAclEntries } from './acl-entries.ts';
import { AccessRuleError } from './rule.ts';

export interface AclFileOptions {
  readonly path: string;
  readonly clock: Clock;
  /** New rules are in use. */
  readonly changed: () => void;
  /** New content cannot be used; the message says why. */
  readonly refused: (error: Error) => void;
}

/** An open file of rules. */
export interface AclFile {
  /** As they are now. */
  readonly entries: () => AclEntries;
  readonly close: CancelTimer;
}

/** @throws AccessRuleError that names the file, the entry and the rule */
export function openAclFile({ changed, clock, path, refused }: AclFileOptions): AclFile {
  let entries = parseAclEntries('');
  const close = watchFile({
    path,
    clock,
    use: (text) => {
      entries = read(text, path);
    },
    unreadable: (cause) => new AccessRuleError(`acl.file ${path} cannot be read.`, { cause }),
    changed,
    refused,
  });
  return { entries: () => entries, close };
}

function read(text: string, path: string): AclEntries {
  try {
    return parseAclEntries(text);
  } catch (cause) {
    if (cause instanceof AccessRuleError) throw new AccessRuleError(`acl.file ${path}: ${cause.message}.`);
    throw cause;
  }
}
