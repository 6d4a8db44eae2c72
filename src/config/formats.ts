/**
 * What a value may be: reads it from YAML or from the text of an environment variable, and says in words what is allowed.
 */
import { availableParallelism } from 'node:os';

/** Thrown by {@link Format.read}; the caller knows key and source and makes the sentence. */
export class FormatError extends Error {}

export interface Format<T> {
  /** Completes "must be …". */
  readonly allowed: string;
  /** Turns a value of a file (typed) or of the environment (a string) into a T, or throws a FormatError. */
  read(value: unknown): T;
}

function fail(): never {
  throw new FormatError('not allowed');
}

/** A whole number within bounds, both included. */
export function integer(minimum: number, maximum: number, unit = ''): Format<number> {
  return {
    allowed: `a whole number from ${minimum} to ${maximum}${unit === '' ? '' : ` (${unit})`}`,
    read(value) {
      const number = typeof value === 'string' && /^-?\d{1,15}$/.test(value.trim()) ? Number(value) : value;
      return typeof number === 'number' && Number.isInteger(number) && number >= minimum && number <= maximum
        ? number
        : fail();
    },
  };
}

/** Number of processes; `auto` is one for each core that this process may use. */
export function processCount(maximum: number): Format<number> {
  const number = integer(1, maximum);
  return {
    allowed: `${number.allowed}, or auto`,
    read: (value) => (value === 'auto' ? Math.min(availableParallelism(), maximum) : number.read(value)),
  };
}

/** Port number; 0 turns a listener off. */
export const port: Format<number> = { ...integer(0, 65_535), allowed: 'a port number from 0 to 65535, 0 = off' };

export const boolean: Format<boolean> = {
  allowed: 'true or false',
  read(value) {
    if (typeof value === 'boolean') return value;
    if (value === 'true' || value === '1') return true;
    return value === 'false' || value === '0' ? false : fail();
  },
};

export function choice<const T extends string>(...values: readonly T[]): Format<T> {
  return {
    allowed: `one of ${values.join(', ')}`,
    read: (value) => values.find((candidate) => candidate === value) ?? fail(),
  };
}

/** Some of these words in any order, each once: a list in YAML, separated by commas in the environment. */
export function choices<const T extends string>(...values: readonly T[]): Format<readonly T[]> {
  return {
    allowed: `a list of ${values.join(', ')}, each once, separated by commas in the environment`,
    read(value) {
      if (value === '') return [];
      const entries: unknown = typeof value === 'string' ? value.split(',').map((entry) => entry.trim()) : value;
      if (!Array.isArray(entries) || new Set(entries).size !== entries.length) return fail();
      return entries.map((entry) => values.find((candidate) => candidate === entry) ?? fail());
    },
  };
}

/** One of these words, or empty. */
export function choiceOrEmpty<const T extends string>(...values: readonly T[]): Format<T | ''> {
  const format = choice(...values);
  return { allowed: `${format.allowed}, or empty`, read: (value) => (value === '' ? '' : format.read(value)) };
}

/** URL of a service over HTTP, or empty. */
export const httpUrl: Format<string> = {
  allowed: 'an http or https URL without user and password, or empty',
  read: (value) => (value === '' || isHttpUrl(value) ? String(value) : fail()),
};

function isHttpUrl(value: unknown): boolean {
  if (typeof value !== 'string' || !URL.canParse(value)) return false;
  const { password, protocol, username } = new URL(value);
  return ['http:', 'https:'].includes(protocol) && username === '' && password === '';
}

/** Any text that matches `pattern`. */
export function text(allowed = 'a text', pattern = /^/): Format<string> {
  return { allowed, read: (value) => (typeof value === 'string' && pattern.test(value) ? value : fail()) };
}

/** Path of a file, or empty; whether it can be read is checked when everything is known. */
export const file: Format<string> = text('the path of a file, or empty');

/** NATS tokens of letters, digits, `-` and `_`, or empty; `_INBOX` belongs to NATS. */
export const subjectPrefix: Format<string> = text(
  'empty or words of letters, digits, - and _ separated by dots, the first one not _INBOX',
  /^(?!_INBOX(?:\.|$))(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)?$/,
);

/** Such tokens, one at least. */
export const inboxPrefix: Format<string> = text(
  'words of letters, digits, - and _ separated by dots',
  /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/,
);

/** Absolute path of a URL. */
export const urlPath: Format<string> = text('a path that starts with /', /^\/[\w\-./~%]*$/);

/** Other servers as MQTT 5 names them (section 4.11): a host, or an address with colons in square brackets, and perhaps a port. */
export const serverReferences: Format<readonly string[]> = {
  allowed: 'a list of host or host:port (IPv6 addresses in square brackets), separated by commas in the environment',
  read(value) {
    if (value === '') return [];
    const entries = typeof value === 'string' ? value.split(',').map((entry) => entry.trim()) : value;
    if (!Array.isArray(entries)) return fail();
    return entries.map((entry) => (isServerReference(entry) ? entry : fail()));
  },
};

function isServerReference(entry: unknown): entry is string {
  if (typeof entry !== 'string') return false;
  const found = /^(?:\[[^\]\s]{1,255}\]|[^\s:[\]]{1,255})(?::(?<port>\d{1,5}))?$/.exec(entry);
  const port = Number(found?.groups?.['port'] ?? 1);
  return found !== null && port >= 1 && port <= 65_535;
}

/** A list in YAML, comma-separated text in the environment. An empty entry is a mistake: it would silently mean fewer servers. */
export const natsServers: Format<readonly string[]> = {
  allowed:
    'a list of NATS URLs such as nats://host:4222 without user and password (see nats.user), separated by commas in the environment',
  read(value) {
    if (value === '') return [];
    const entries = typeof value === 'string' ? value.split(',').map((entry) => entry.trim()) : value;
    if (!Array.isArray(entries)) return fail();
    return entries.map((entry) => (isNatsServer(entry) ? entry : fail()));
  },
};

function isNatsServer(entry: unknown): entry is string {
  if (typeof entry !== 'string') return false;
  const url = entry.includes('://') ? entry : `nats://${entry}`;
  if (!URL.canParse(url)) return false;
  const { hostname, password, protocol, username } = new URL(url);
  return ['nats:', 'tls:'].includes(protocol) && hostname !== '' && username === '' && password === '';
}
