/** What JetStream answers to a publish, and what it means. */
import type { LogOutcome } from '../broker/ports.ts';

/** Answers of JetStream that mean: not now. */
const TEMPORARY_CODES: ReadonlySet<number> = new Set([429, 503]);
/** No space: maximum bytes or messages of the stream, of the account, of the server; some of them come with 503. */
const FULL_CODES: ReadonlySet<number> = new Set([10_077, 10_002, 10_047, 10_028, 10_023, 10_122]);
const TOO_LARGE_CODES: ReadonlySet<number> = new Set([10_054, 10_097]);

/** Position in `{"stream":"SMQ_LOG","seq":123}`, with a domain or without; 0 for every other answer. Read from behind. */
export function sequenceOf(data: Uint8Array): number {
  // 0x73 0x74: the key `stream` comes first in an acknowledgement and only there
  if (data[2] !== 0x73 || data[3] !== 0x74) return 0;
  let at = data.length - 2;
  let sequence = 0;
  for (let place = 1; isDigit(data[at]); place *= 10) sequence += ((data[at--] ?? 0) - 0x30) * place;
  // the last letters of `"seq":`
  return data[at] === 0x3a && data[at - 1] === 0x22 && data[at - 2] === 0x71 ? sequence : 0;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

export interface PublishError {
  readonly code: number;
  readonly err_code?: number;
}

interface PublishAnswer {
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: PublishError;
}

/** An empty answer is "no responders": the stream has no leader. */
export function answerOf(data: Uint8Array): PublishAnswer {
  if (data.length === 0) return { error: { code: 503 } };
  try {
    return JSON.parse(Buffer.from(data).toString()) as PublishAnswer; // decoded border: the server's JSON
  } catch {
    // No answer of JetStream's: somebody else listens there.
    return {};
  }
}

/** Not now: no leader, or too much waits in the stream. */
export function isTemporary({ code, err_code = 0 }: PublishError): boolean {
  return TEMPORARY_CODES.has(code) && !FULL_CODES.has(err_code);
}

/** More waits in the stream than it takes. */
export function isTooMany({ code }: PublishError): boolean {
  return code === 429;
}

export function outcomeOf({ err_code: code = 0 }: PublishError): LogOutcome {
  if (FULL_CODES.has(code)) return 'full';
  return TOO_LARGE_CODES.has(code) ? 'tooLarge' : 'refused';
}
