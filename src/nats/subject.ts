/**
 * Topic ⇄ subject. One MQTT level is one NATS token, by the rules of nats-server's own MQTT gateway, completed so that
 * every topic has exactly one subject and back (docs/mqtt-nats-mapping.md). What comes out is safe in a NATS protocol line
 * whatever went in: the client library checks nothing, and a raw line break would be a command of its own.
 */

/**
 * Longest subject in UTF-8 bytes, prefix included. nats-server closes the connection on a protocol line above 4,096 bytes;
 * the rest is for the verb, a reply subject, sizes, and the longer subjects under which stored messages travel.
 */
export const MAX_SUBJECT_BYTES = 3_000;
/** Levels of a topic: tokens are what a NATS server walks through for every message. */
export const MAX_LEVELS = 256;

/** Needs no work beyond `/` → `.`: no empty level, no character that is escaped. */
const PLAIN = /^[^/.*>\x00-\x20\x7f]+(?:\/[^/.*>\x00-\x20\x7f]+)*$/;
const ESCAPED = /[.*>\x01-\x20\x7f]/g;
const UNESCAPED_SUBJECT = /[*>\x00-\x20\x7f]/;
const PREFIX = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;

export class SubjectMap {
  /** With its dot, or empty. */
  readonly #prefix: string;

  /** `prefix`: NATS tokens of letters, digits, `-` and `_` that go before every subject; empty = none. */
  constructor(prefix: string) {
    if (prefix !== '' && !PREFIX.test(prefix)) throw new Error(`not a subject prefix: ${prefix}`);
    this.#prefix = prefix === '' ? '' : `${prefix}.`;
  }

  /** Undefined above the caps; `topic` is a well-formed topic name. */
  encodeTopic(topic: string): string | undefined {
    return this.#capped(
      this.#prefix + (PLAIN.test(topic) ? topic.replaceAll('/', '.') : encodeLevels(topic, encodeLevel)),
    );
  }

  /** One subject, or two for `…/#`, which matches its parent too; undefined above the caps. */
  encodeFilter(filter: string): readonly string[] | undefined {
    const subject = this.#capped(this.#prefix + encodeLevels(filter, encodeFilterLevel));
    if (subject === undefined) return undefined;
    return filter.endsWith('/#') ? [subject, subject.slice(0, -2)] : [subject];
  }

  /** Undefined for a subject that no topic encodes to. */
  decodeSubject(subject: string): string | undefined {
    if (!subject.startsWith(this.#prefix) || UNESCAPED_SUBJECT.test(subject)) return undefined;
    const rest = subject.slice(this.#prefix.length);
    if (!rest.includes('/')) return rest === '' || hasEmptyToken(rest) ? undefined : rest.replaceAll('.', '/');
    const levels: string[] = [];
    for (const token of rest.split('.')) {
      const level = decodeToken(token);
      if (level === undefined) return undefined;
      levels.push(level);
    }
    const topic = levels.join('/');
    // a lone empty level is no topic
    return topic === '' ? undefined : topic;
  }

  /** Whether a subject is behind the walls: its first level starts with `$` or is `_INBOX`. Cheap: asked for every message of a wildcard. */
  startsWithHidden(subject: string): boolean {
    const start = this.#prefix.length;
    if (subject.charCodeAt(start) === 0x24) return true;
    return (
      subject.startsWith('_INBOX', start) && (subject.length === start + 6 || subject.charCodeAt(start + 6) === 0x2e)
    );
  }

  #capped(subject: string): string | undefined {
    if (subject.length > MAX_SUBJECT_BYTES || Buffer.byteLength(subject) > MAX_SUBJECT_BYTES) return undefined;
    let levels = 1;
    for (let dot = subject.indexOf('.'); dot >= 0; dot = subject.indexOf('.', dot + 1)) levels++;
    return levels > MAX_LEVELS ? undefined : subject;
  }
}

/**
 * Queue group of a consumer group: the name itself where NATS can carry it, so that a NATS application joins by that name. Others
 * (white space, control characters, NATS's own `_sys_`) are percent-encoded, and so is what could be mistaken for that.
 */
export function encodeGroup(name: string): string {
  if (name === '_sys_') return '%5Fsys_';
  return name.replace(/[%\x00-\x20\x7f]/g, (character) => `%${hex(character)}`);
}

function encodeLevels(text: string, encode: (level: string) => string): string {
  return text.split('/').map(encode).join('.');
}

function encodeLevel(level: string): string {
  return level === '' ? '/' : level.replace(ESCAPED, escapeCharacter);
}

function encodeFilterLevel(level: string): string {
  if (level === '+') return '*';
  return level === '#' ? '>' : encodeLevel(level);
}

function escapeCharacter(character: string): string {
  return character === '.' ? '//' : `/${hex(character)}`;
}

function hex(character: string): string {
  return character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0');
}

function hasEmptyToken(subject: string): boolean {
  return subject.startsWith('.') || subject.endsWith('.') || subject.includes('..');
}

function decodeToken(token: string): string | undefined {
  if (token === '') return undefined;
  if (token === '/') return '';
  if (!token.includes('/')) return token;
  const level = token.replace(/\/(\/|[0-9A-F]{2})/g, (_match, code: string) =>
    code === '/' ? '.' : String.fromCharCode(Number.parseInt(code, 16)),
  );
  // Anything that is not the one encoding of its level (a lone `/`, lower-case digits, an escape that is not needed) is no topic.
  return encodeLevel(level) === token && !level.includes('/') ? level : undefined;
}
