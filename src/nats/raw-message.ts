/**
 * The bytes of a message as they came: the library's own fields cost a decoder for each header and drop a U+FEFF that leads a subject. Only
 * its private fields have them; contract tests notice if that changes.
 */
import type { Msg } from 'nats';

interface Inside {
  readonly _msg?: { readonly subject?: Uint8Array; readonly hdr?: number };
  readonly _rdata?: Uint8Array;
}

/** Node's buffers have this method on their shared prototype; it works on any Uint8Array and makes no Buffer of it. */
const latin1Slice = (
  Buffer.prototype as unknown as { latin1Slice(this: Uint8Array, start: number, end: number): string }
).latin1Slice; // in every Node since 0.x, missing in its types

/** The header block as text, one character per byte; empty when there is none. */
export function headerBlock(message: Msg): string {
  const { _msg, _rdata } = message as Msg & Inside; // reading fields that the type does not show
  const length = _msg?.hdr ?? -1;
  if (length <= 0 || _rdata === undefined) return '';
  return latin1Slice.call(_rdata, 0, length);
}

/**
 * The subject with the U+FEFF that may lead it: the library's decoder takes it for a byte order mark and drops it.
 * [MQTT5 1.5.4-3] [MQTT311 1.5.3-3]
 */
export function completeSubject(message: Msg): string {
  const { subject } = (message as Msg & Inside)._msg ?? {}; // as above
  const hasMark = subject?.[0] === 0xef && subject[1] === 0xbb && subject[2] === 0xbf;
  return hasMark ? `\ufeff${message.subject}` : message.subject;
}

/** Value of the last line with this name; undefined when there is none. What the server adds stands behind what a publisher sent. */
export function lastHeader(block: string, name: string): string | undefined {
  const at = block.lastIndexOf(`\r\n${name}: `);
  if (at < 0) return undefined;
  const start = at + name.length + 4;
  return block.slice(start, block.indexOf('\r\n', start));
}

/** The text of a header value: blocks are read one character per byte. */
export function decodeText(value: string): string {
  return /^[\x00-\x7f]*$/.test(value) ? value : Buffer.from(value, 'latin1').toString();
}
