/** Header blocks as text, without an object for each: the library decodes every line of one. */
import type { Msg } from 'nats';
import type { WireMessage } from './wire/message.ts';

/** The header block, one character per byte; empty when there is none. */
export function headerBlock(message: Msg): string {
  return wired(message).headerBlock;
}

/** Nobody listens on the subject of the question. */
export function isNoResponders(message: Msg): boolean {
  return message.data.length === 0 && headerBlock(message).startsWith('NATS/1.0 503');
}

/** What the callbacks of a subscription get, whose type is the library's. */
export function wired(message: Msg): WireMessage {
  return message as WireMessage; // all connections are made by connectWired
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
