/**
 * The entries of the file of access rules: each says whom it is about and has rules. Read from its text, and asked for the rules of one
 * client. Entries that name a user, a client id or a group are found by that name, so that a long file costs a client nothing.
 */
import { parse, YAMLParseError } from 'yaml';
import type { AccessClient } from './authorizer.ts';
import { type CompiledRule, compileRules, hasPlaceholder, type Names } from './compiled-rule.ts';
import { type AccessRule, AccessRuleError, readRules } from './rule.ts';

const MAXIMUM_ENTRIES = 10_000;
/** Any name but the empty one. */
const ANY = '*';

/** Whom an entry is about: all that is said has to fit. */
interface Who {
  readonly user: string | undefined;
  readonly group: string | undefined;
  readonly clientId: string | undefined;
  /** Whether the client has no user name; undefined = either. */
  readonly anonymous: boolean | undefined;
}

interface Entry {
  /** Place in the file. */
  readonly index: number;
  readonly who: Who;
  readonly rules: readonly AccessRule[];
  /** The rules of every client; undefined when they hold names. */
  readonly shared: readonly CompiledRule[] | undefined;
}

export class AclEntries {
  readonly count: number;
  /** Entries that name nobody. */
  readonly #general: Entry[] = [];
  readonly #byUser = new Map<string, Entry[]>();
  readonly #byClientId = new Map<string, Entry[]>();
  readonly #byGroup = new Map<string, Entry[]>();

  constructor(entries: readonly Entry[]) {
    this.count = entries.length;
    for (const entry of entries) this.#placeOf(entry.who).push(entry);
  }

  /** The rules of all entries that fit, in the order of the file. */
  rulesOf(client: AccessClient): Array<readonly CompiledRule[]> {
    const named = [
      ...(this.#byUser.get(client.username) ?? []),
      ...(this.#byClientId.get(client.clientId) ?? []),
      ...[...new Set(client.groups)].flatMap((group) => this.#byGroup.get(group) ?? []),
    ];
    const fitting = [...this.#general, ...named].filter(({ who }) => isAbout(who, client));
    if (named.length > 0) fitting.sort((a, b) => a.index - b.index);
    return fitting.map(({ rules, shared }) => shared ?? compileRules(rules, client));
  }

  #placeOf({ clientId, group, user }: Who): Entry[] {
    if (isName(user)) return placeIn(this.#byUser, user);
    if (isName(clientId)) return placeIn(this.#byClientId, clientId);
    if (isName(group)) return placeIn(this.#byGroup, group);
    return this.#general;
  }
}

function isName(wanted: string | undefined): wanted is string {
  return wanted !== undefined && wanted !== ANY;
}

function placeIn(map: Map<string, Entry[]>, name: string): Entry[] {
  const known = map.get(name);
  if (known !== undefined) return known;
  const place: Entry[] = [];
  map.set(name, place);
  return place;
}

function isAbout({ anonymous, clientId, group, user }: Who, client: AccessClient): boolean {
  if (anonymous !== undefined && anonymous !== (client.username === '')) return false;
  if (user === ANY ? client.username === '' : user !== undefined && user !== client.username) return false;
  if (clientId !== undefined && clientId !== ANY && clientId !== client.clientId) return false;
  if (group === undefined) return true;
  return group === ANY ? client.groups.length > 0 : client.groups.includes(group);
}

const nobody: Names = { clientId: '', username: '' };
const entryMembers: ReadonlySet<string> = new Set(['who', 'rules']);
const whoMembers: ReadonlySet<string> = new Set(['user', 'group', 'clientId', 'anonymous']);

/** @throws AccessRuleError that names the entry and the rule, in words that go on behind the name of the file */
export function parseAclEntries(text: string): AclEntries {
  const list = parseYaml(text);
  if (!Array.isArray(list)) throw new AccessRuleError('is not a list of entries');
  if (list.length > MAXIMUM_ENTRIES) throw new AccessRuleError(`has more than ${MAXIMUM_ENTRIES} entries`);
  return new AclEntries(list.map((entry: unknown, index) => readEntry(entry, index)));
}

/** Only code and place are told: an error in a few words. */
function parseYaml(text: string): unknown {
  try {
    return parse(text) ?? [];
  } catch (error) {
    const place = error instanceof YAMLParseError ? ` (${error.code}, line ${error.linePos?.[0].line ?? 1})` : '';
    throw new AccessRuleError(`is not valid YAML${place}`);
  }
}

function readEntry(entry: unknown, index: number): Entry {
  const name = `entry ${index + 1}`;
  const { rules: list, who } = membersOf(entry, entryMembers, name);
  try {
    const rules = readRules(list);
    const shared = rules.some(hasPlaceholder) ? undefined : compileRules(rules, nobody);
    return { index, who: readWho(who), rules, shared };
  } catch (cause) {
    if (cause instanceof AccessRuleError) throw new AccessRuleError(`${name}: ${cause.message}`);
    throw cause;
  }
}

function readWho(value: unknown): Who {
  const { anonymous, clientId, group, user } = value === undefined ? {} : membersOf(value, whoMembers, 'who');
  if (anonymous !== undefined && typeof anonymous !== 'boolean')
    throw new AccessRuleError('anonymous is neither true nor false');
  if (anonymous === true && user !== undefined) throw new AccessRuleError('who names a user and is anonymous');
  const [asUser, asGroup] = [nameOf(user, 'user'), nameOf(group, 'group')];
  return { user: asUser, group: asGroup, clientId: nameOf(clientId, 'clientId'), anonymous };
}

function nameOf(value: unknown, member: string): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new AccessRuleError(`${member} is no text, or empty (a number needs quotation marks)`);
}

function membersOf(value: unknown, known: ReadonlySet<string>, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new AccessRuleError(`${name} is not an object`);
  const unknown = Object.keys(value).find((member) => !known.has(member));
  if (unknown !== undefined) throw new AccessRuleError(`${name} has an unknown member ${JSON.stringify(unknown)}`);
  return value as Record<string, unknown>; // members are read one by one
}
