/** What nats-server says when it refuses a subscription, taken apart. It quotes as Go does, and the library looks for what it reads there as it is. */

export interface RefusedSubscription {
  readonly subject: string;
  /** Undefined: no queue group is named. */
  readonly queue: string | undefined;
}

const REFUSED =
  /^'?Permissions Violation for Subscription to "((?:[^"\\]|\\.)*)"(?: using queue "((?:[^"\\]|\\.)*)")?/i;
const ESCAPE = /\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))/gs;
const controls = new Map([
  ['a', '\u0007'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['v', '\v'],
]);

const TOO_MANY = /^'?maximum subscriptions exceeded/i;

/** Whether a line of -ERR says that the connection has as many subscriptions as it may have; `text` without that word. */
export function saysTooManySubscriptions(text: string): boolean {
  return TOO_MANY.test(text);
}

/** `text`: a line of -ERR without that word; undefined for all others. */
export function readRefusedSubscription(text: string): RefusedSubscription | undefined {
  const [, subject, queue] = REFUSED.exec(text) ?? [];
  if (subject === undefined) return undefined;
  return { subject: unquoteGo(subject), queue: queue === undefined ? undefined : unquoteGo(queue) };
}

/** The inside of a quoted string of Go. */
export function unquoteGo(quoted: string): string {
  if (!quoted.includes('\\')) return quoted;
  return quoted.replace(ESCAPE, (_, byte?: string, unit?: string, point?: string, character?: string) => {
    const digits = byte ?? unit ?? point;
    if (digits === undefined) return controls.get(character ?? '') ?? character ?? '';
    const code = Number.parseInt(digits, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
  });
}
