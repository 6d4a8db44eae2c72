/**
 * Topic ⇄ subject. One MQTT level is one NATS token, by the rules of nats-server's own MQTT gateway, completed so that
 * every topic has exactly one subject and back (docs/mqtt-nats-mapping.md). What comes out is safe in a NATS protocol line
 * whatever went in: the client library checks nothing, and a raw line break would be a command of its own.
 */
import { createHash } from 'node:crypto';

/**
 * Longest subject in UTF-8 bytes, prefix included. nats-server closes the connection on a protocol line above 4,096 bytes;
 * the rest is for the verb, a reply subject, sizes, and the longer subjects under which stored messages travel.
 */
export const MAX_SUBJECT_BYTES = 3_000;
/** Levels of a topic, prefix not counted: tokens are what a NATS server walks through for every message. */
export const MAX_LEVELS = 256;
/** Longest queue group in UTF-8 bytes: it shares the SUB line with a subject. Longer names travel as their hash. */
const MAX_GROUP_BYTES = 512;
const DEFAULT_INBOX = '_INBOX';
/** UTF-8 bytes that a character of a JavaScript string takes at most. */
const MAX_BYTES_PER_CHARACTER = 3;
/** A subject of so few characters is below all caps, whatever they are: each token is one at least, and its dot. */
const SURELY_SHORT = Math.min(MAX_SUBJECT_BYTES / MAX_BYTES_PER_CHARACTER, 2 * MAX_LEVELS);

/** In no subject of a topic: what is always escaped, and the wildcards of MQTT, which a NATS application can send. */
const NEVER_IN_SUBJECT = /[*>+#\x00-\x20\x7f]/;
const PREFIX = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;

const DOLLAR = 0x24;
const DOT = 0x2e;
const SLASH = 0x2f;
const UNDERSCORE = 0x5f;
/** Characters that become `/` and two digits: what would end a word of the protocol, and NATS's wildcards. */
const HEX_ESCAPED = [...Array.from({ length: 0x20 }, (_, i) => i + 1), 0x2a, 0x3e, 0x7f];
const hexEscapes = HEX_ESCAPED.map((code): [number, string] => [code, `/${hex(code)}`]);
/** What stands for a character inside a level, by its code; undefined = itself. */
const topicEscapes = asciiTable([[DOT, '//'], ...hexEscapes]);
/** The same for filters, where `+` and `#` are whole levels. */
const filterEscapes = asciiTable([[DOT, '//'], [0x2b, '*'], [0x23, '>'], ...hexEscapes]);
/** The way back: two digits to their character. */
const unescapes = new Map(HEX_ESCAPED.map((code) => [hex(code), String.fromCharCode(code)]));

/** Whether NATS hands a message on `subject` to a subscription on `pattern`. */
export function subjectMatches(pattern: string, subject: string): boolean {
  const [wanted, tokens] = [pattern.split('.'), subject.split('.')];
  for (const [index, token] of wanted.entries()) {
    if (token === '>') return tokens.length > index;
    if (index >= tokens.length || (token !== '*' && token !== tokens[index])) return false;
  }
  return wanted.length === tokens.length;
}

/** Both directions of the mapping, under one prefix. */
export class SubjectMap {
  /** With its dot, or empty. */
  readonly #prefix: string;
  /** First tokens of inboxes: everybody's, and the node's own. */
  readonly #inboxes: readonly string[];
  readonly #ownInitial: number;

  /**
   * `prefix`: NATS tokens of letters, digits, `-` and `_` that go before every subject; empty = none. `inboxPrefix`: those before the
   * node's inboxes.
   */
  constructor(prefix: string, inboxPrefix = DEFAULT_INBOX) {
    if (prefix !== '' && !PREFIX.test(prefix)) throw new Error(`not a subject prefix: ${prefix}`);
    this.#prefix = prefix === '' ? '' : `${prefix}.`;
    const [own = DEFAULT_INBOX] = inboxPrefix.split('.');
    this.#inboxes = [...new Set([DEFAULT_INBOX, own])];
    this.#ownInitial = own.charCodeAt(0);
  }

  /** Undefined above the caps; `topic` is a well-formed topic name. */
  encodeTopic(topic: string): string | undefined {
    if (topic.length > MAX_SUBJECT_BYTES) return undefined;
    return this.#capped(this.#prefix + encodeLevels(topic, topicEscapes));
  }

  /**
   * One subject, or two for `…/#`, which matches its parent too; undefined above the caps. The parent of `/#` is the empty
   * topic, which does not exist.
   */
  encodeFilter(filter: string): readonly string[] | undefined {
    if (filter.length > MAX_SUBJECT_BYTES) return undefined;
    const subject = this.#capped(this.#prefix + encodeLevels(filter, filterEscapes));
    if (subject === undefined) return undefined;
    return filter.endsWith('/#') && filter !== '/#' ? [subject, subject.slice(0, -2)] : [subject];
  }

  /** Undefined for a subject that no topic encodes to, whoever published it. [MQTT5 3.3.2-2] [MQTT311 3.3.2-2] */
  decodeSubject(subject: string): string | undefined {
    if (!subject.startsWith(this.#prefix) || NEVER_IN_SUBJECT.test(subject)) return undefined;
    if (this.#capped(subject) === undefined) return undefined;
    return decodeTokens(subject.slice(this.#prefix.length));
  }

  /** Whether a subject is behind the walls: its first level starts with `$` or is that of inboxes. Cheap: asked for every message of a wildcard. */
  startsWithHidden(subject: string): boolean {
    const start = this.#prefix.length;
    const initial = subject.charCodeAt(start);
    if (initial === DOLLAR) return true;
    // Nearly all subjects end here.
    if (initial !== UNDERSCORE && initial !== this.#ownInitial) return false;
    for (const inbox of this.#inboxes) {
      const end = start + inbox.length;
      if (subject.startsWith(inbox, start) && (subject.length === end || subject.charCodeAt(end) === DOT)) return true;
    }
    return false;
  }

  #capped(subject: string): string | undefined {
    if (subject.length <= SURELY_SHORT) return subject;
    if (subject.length > MAX_SUBJECT_BYTES || Buffer.byteLength(subject) > MAX_SUBJECT_BYTES) return undefined;
    let levels = 1;
    for (let dot = subject.indexOf('.', this.#prefix.length); dot >= 0; dot = subject.indexOf('.', dot + 1)) levels++;
    return levels > MAX_LEVELS ? undefined : subject;
  }
}

/**
 * Queue group of a consumer group: the name itself where NATS can carry it, so that a NATS application joins by that name. Others
 * (white space, control characters, NATS's own `_sys_`) are percent-encoded, and so is the percent sign itself. A name too long
 * for a protocol line becomes `%SHA256:` and its hash, which is no percent-encoding of any name.
 */
export function encodeGroup(name: string): string {
  if (name === '_sys_') return '%5Fsys_';
  if (name.length <= MAX_GROUP_BYTES) {
    const encoded = name.replace(/[%\x00-\x20\x7f]/g, (character) => `%${hex(character.charCodeAt(0))}`);
    if (Buffer.byteLength(encoded) <= MAX_GROUP_BYTES) return encoded;
  }
  return `%SHA256:${createHash('sha256').update(name).digest('base64url')}`;
}

function asciiTable(entries: ReadonlyArray<[code: number, escape: string]>): ReadonlyArray<string | undefined> {
  const byCode = new Map(entries);
  return Array.from({ length: 0x80 }, (_, code) => byCode.get(code));
}

function hex(code: number): string {
  return code.toString(16).toUpperCase().padStart(2, '0');
}

/** One pass; text between characters that change is copied as a whole. */
function encodeLevels(text: string, escapes: ReadonlyArray<string | undefined>): string {
  let tokens = '';
  let done = 0;
  let levelStart = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === SLASH) {
      tokens += text.slice(done, i) + (i === levelStart ? '/.' : '.');
      levelStart = done = i + 1;
      continue;
    }
    const written = code < 0x80 ? escapes[code] : undefined;
    if (written === undefined) continue;
    tokens += text.slice(done, i) + written;
    done = i + 1;
  }
  return tokens + (levelStart === text.length ? '/' : text.slice(done));
}

/** Undefined for an empty token, a lone empty level, and each `/` that is not how its character is written. */
function decodeTokens(tokens: string): string | undefined {
  let topic = '';
  let done = 0;
  let tokenStart = 0;
  for (let i = 0; i < tokens.length; i++) {
    const code = tokens.charCodeAt(i);
    if (code === DOT) {
      if (i === tokenStart) return undefined;
      topic += `${tokens.slice(done, i)}/`;
      tokenStart = done = i + 1;
    } else if (code === SLASH) {
      const character = unescapeAt(tokens, i + 1, i === tokenStart);
      if (character === undefined) return undefined;
      topic += tokens.slice(done, i) + character;
      if (character !== '') i += character === '.' ? 1 : 2;
      done = i + 1;
    }
  }
  if (tokenStart === tokens.length || tokens === '/') return undefined;
  return topic + tokens.slice(done);
}

/** What is written as `/` and what follows from `at` on; nothing, for an empty level. */
function unescapeAt(tokens: string, at: number, isTokenStart: boolean): string | undefined {
  const next = tokens.charCodeAt(at);
  if (next === SLASH) return '.';
  if (isTokenStart && (next === DOT || at === tokens.length)) return '';
  return unescapes.get(tokens.slice(at, at + 2));
}
