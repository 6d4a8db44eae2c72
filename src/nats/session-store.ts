/** Session records in a JetStream bucket: one message per client, every write a compare-and-swap, every read the leader's. */
import { hash } from 'node:crypto';
import type { SessionPage, SessionStore, StoredSession } from '../broker/ports.ts';
import { StoreFullError } from '../store-full.ts';
import { readyHeaders } from './envelope.ts';
import type { Requests } from './jetstream.ts';
import { headerBlock, lastHeader } from './raw-message.ts';
import type { StreamQuota } from './stream-quota.ts';

export const SESSION_STREAM = 'KV_SMQ_SESSIONS';
export const SESSION_PREFIX = '$KV.SMQ_SESSIONS.';
const WRONG_REVISION = 10_071;
/** How long it stays known that a session was removed. */
const TOMBSTONE_SECONDS = 60;
/** Of the server's max_payload, for headers. */
const HEADROOM_BYTES = 4_096;
const PAGE_RECORDS = 256;
const PAGE_BYTES = 256 * 1024;
const PAGE_MILLISECONDS = 2_000;

/** 132 bits of a hash: any client id is legal, and makes a token. */
export function clientKey(clientId: string): string {
  return hash('sha256', clientId, 'base64url').slice(0, 22);
}

interface Acknowledgement {
  readonly seq?: number;
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description: string };
}

export class NatsSessionStore implements SessionStore {
  readonly #requests: Requests;
  readonly #quota: StreamQuota;
  #maximumPayload = 0;

  constructor(requests: Requests, quota: StreamQuota) {
    this.#requests = requests;
    this.#quota = quota;
    this.#maximumPayload = requests.connection.info?.max_payload ?? 0;
  }

  async load(clientId: string): Promise<StoredSession> {
    const stored = await this.#requests.getMessage(SESSION_STREAM, {
      last_by_subj: SESSION_PREFIX + clientKey(clientId),
    });
    if (stored === undefined) return { record: undefined, revision: 0 };
    const value = Buffer.from(stored.data ?? '', 'base64');
    // A tombstone, or the marker that a record has expired.
    if (value.length === 0) return { record: undefined, revision: stored.seq };
    return { record: withoutClientId(value, clientId), revision: stored.seq };
  }

  async save(clientId: string, record: Buffer, expected: number, ttlSeconds: number): Promise<number | undefined> {
    if (expected === 0 && !(await this.#quota.hasRoom(record.length))) throw new StoreFullError('session');
    const ttl = ttlSeconds > 0 ? `Nats-TTL: ${ttlSeconds}s\r\n` : '';
    return this.#write(clientId, withClientId(record, clientId), expected, ttl);
  }

  async remove(clientId: string, expected: number): Promise<boolean> {
    const lines = `KV-Operation: DEL\r\nNats-TTL: ${TOMBSTONE_SECONDS}s\r\n`;
    return (await this.#write(clientId, Buffer.alloc(0), expected, lines)) !== undefined;
  }

  maximumBytes(): number {
    // Unknown while the library dials: the last server's is the best guess then.
    this.#maximumPayload = this.#requests.connection.info?.max_payload ?? this.#maximumPayload;
    return this.#maximumPayload - HEADROOM_BYTES;
  }

  async page(after: number): Promise<SessionPage> {
    const { next, records } = await readPage(this.#requests, SESSION_STREAM, `${SESSION_PREFIX}>`, after);
    return { sessions: records, next };
  }

  async #write(clientId: string, value: Buffer, expected: number, lines: string): Promise<number | undefined> {
    const headers = readyHeaders(`Nats-Expected-Last-Subject-Sequence: ${expected}\r\n${lines}`);
    const reply = await this.#requests.request(SESSION_PREFIX + clientKey(clientId), value, headers);
    const { error, seq } = JSON.parse(Buffer.from(reply.data).toString()) as Acknowledgement; // decoded border: the server's JSON
    if (error?.err_code === WRONG_REVISION) return undefined;
    if (error !== undefined || seq === undefined) throw new Error(`a session cannot be written: ${error?.description}`);
    return seq;
  }
}

/** One batch of the records on `subjects` behind position `after`, as any replica has them; `next` undefined = there are no more. */
export async function readPage(
  requests: Requests,
  stream: string,
  subjects: string,
  after: number,
): Promise<{ records: SessionPage['sessions']; next: number | undefined }> {
  const records: Array<{ clientId: string; record: Buffer; revision: number }> = [];
  let last = after;
  await requests.collect(
    `$JS.API.DIRECT.GET.${stream}`,
    JSON.stringify({ seq: after + 1, next_by_subj: subjects, batch: PAGE_RECORDS, max_bytes: PAGE_BYTES }),
    (message) => {
      const block = headerBlock(message);
      if (message.data.length === 0 && !block.startsWith('NATS/1.0\r\n')) return true;
      const revision = Number(lastHeader(block, 'Nats-Sequence'));
      last = revision;
      const found = clientOf(Buffer.from(message.data));
      if (found !== undefined) records.push({ ...found, revision });
      return false;
    },
    PAGE_MILLISECONDS,
  );
  return { records, next: last === after ? undefined : last };
}

/** A record with the client id in front, which {@link withoutClientId} compares. */
export function withClientId(record: Buffer, clientId: string): Buffer {
  const id = Buffer.from(clientId);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(id.length);
  return Buffer.concat([length, id, record]);
}

/** @throws Error when two client ids have one hash, or an application has written there */
export function withoutClientId(value: Buffer, clientId: string): Buffer {
  const found = clientOf(value);
  if (found === undefined) throw new Error('what is stored for a client is no record of supermq');
  if (found.clientId !== clientId) throw new Error('two client ids have one hash');
  return found.record;
}

/** Undefined for what no node has written, and for what marks a removed record. */
function clientOf(value: Buffer): { clientId: string; record: Buffer } | undefined {
  if (value.length < 2) return undefined;
  const end = 2 + value.readUInt16BE(0);
  if (end > value.length) return undefined;
  return { clientId: value.toString('utf8', 2, end), record: value.subarray(end) };
}
