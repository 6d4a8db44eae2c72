/**
 * Wills in a JetStream bucket: one message per owner and client, every write a compare-and-swap. An owner is the incarnation of a node, two
 * tokens; its marker lies on them alone, its wills one token deeper, so that all of a dead node is one subject filter.
 */
import type { StoredWill, WillPage, WillStore } from '../broker/ports.ts';
import { readyHeaders } from './envelope.ts';
import type { Requests } from './jetstream.ts';
import { clientKey, readPage, withClientId, withoutClientId } from './session-store.ts';

export const WILL_STREAM = 'KV_SMQ_WILLS';
export const WILL_PREFIX = '$KV.SMQ_WILLS.';
const MARKERS = `${WILL_PREFIX}*.*`;
const WRONG_REVISION = 10_071;
/** How long it stays known that a will was removed. */
const TOMBSTONE_SECONDS = 10;
/** The same for an owner: nothing is ever written there again. */
const MARKER_TOMBSTONE_SECONDS = 1;
/** Of the server's max_payload, for headers. */
const HEADROOM_BYTES = 4_096;

interface Acknowledgement {
  readonly seq?: number;
  readonly error?: { readonly err_code?: number; readonly description: string };
}

export class NatsWillStore implements WillStore {
  readonly #requests: Requests;
  #maximumPayload = 0;
  /** Owners whose marker was seen; what is listed beside them may be a tombstone. */
  #marked: ReadonlySet<string> = new Set();

  constructor(requests: Requests) {
    this.#requests = requests;
    this.#maximumPayload = requests.connection.info?.max_payload ?? 0;
  }

  async load(owner: string, clientId: string): Promise<StoredWill> {
    const stored = await this.#requests.getMessage(WILL_STREAM, { last_by_subj: subjectOf(owner, clientId) });
    if (stored === undefined) return { record: undefined, revision: 0 };
    const value = Buffer.from(stored.data ?? '', 'base64');
    if (value.length === 0) return { record: undefined, revision: stored.seq };
    return { record: withoutClientId(value, clientId), revision: stored.seq };
  }

  save(owner: string, clientId: string, record: Buffer, expected: number): Promise<number | undefined> {
    return this.#write(subjectOf(owner, clientId), withClientId(record, clientId), expected, '');
  }

  async remove(owner: string, clientId: string, expected: number): Promise<boolean> {
    const lines = `KV-Operation: DEL\r\nNats-TTL: ${TOMBSTONE_SECONDS}s\r\n`;
    return (await this.#write(subjectOf(owner, clientId), Buffer.alloc(0), expected, lines)) !== undefined;
  }

  maximumBytes(): number {
    // Unknown while the library dials: the last server's is the best guess then.
    this.#maximumPayload = this.#requests.connection.info?.max_payload ?? this.#maximumPayload;
    return this.#maximumPayload - HEADROOM_BYTES;
  }

  async page(owner: string, after: number): Promise<WillPage> {
    const { next, records } = await readPage(this.#requests, WILL_STREAM, `${WILL_PREFIX}${owner}.*`, after);
    return { wills: records, next };
  }

  async isEmpty(owner: string): Promise<boolean> {
    const query = { seq: 1, next_by_subj: `${WILL_PREFIX}${owner}.*` };
    return (await this.#requests.getMessage(WILL_STREAM, query)) === undefined;
  }

  async mark(owner: string): Promise<void> {
    await this.#write(WILL_PREFIX + owner, Buffer.from('owner'), undefined, '');
  }

  async unmark(owner: string): Promise<void> {
    const lines = `KV-Operation: DEL\r\nNats-TTL: ${MARKER_TOMBSTONE_SECONDS}s\r\n`;
    await this.#write(WILL_PREFIX + owner, Buffer.alloc(0), undefined, lines);
  }

  /** The server's index of subjects knows the markers without a look at any will. */
  async owners(): Promise<readonly string[]> {
    const info = await this.#requests.api<{ state: { subjects?: Record<string, number> } }>(
      `STREAM.INFO.${WILL_STREAM}`,
      { subjects_filter: MARKERS },
    );
    const listed = Object.keys(info.state.subjects ?? {}).map((subject) => subject.slice(WILL_PREFIX.length));
    const isMarked = await Promise.all(listed.map((owner) => this.#marked.has(owner) || this.#isMarked(owner)));
    const owners = listed.filter((_, index) => isMarked[index]);
    this.#marked = new Set(owners);
    return owners;
  }

  async #isMarked(owner: string): Promise<boolean> {
    const marker = await this.#requests.getMessage(WILL_STREAM, { last_by_subj: WILL_PREFIX + owner });
    return marker?.data !== undefined;
  }

  /** The new revision; undefined when it is another one than expected. `expected` undefined: whatever is there. */
  async #write(
    subject: string,
    value: Buffer,
    expected: number | undefined,
    lines: string,
  ): Promise<number | undefined> {
    const condition = expected === undefined ? '' : `Nats-Expected-Last-Subject-Sequence: ${expected}\r\n`;
    const reply = await this.#requests.request(subject, value, readyHeaders(condition + lines));
    const { error, seq } = JSON.parse(Buffer.from(reply.data).toString()) as Acknowledgement; // decoded border: the server's JSON
    if (error?.err_code === WRONG_REVISION) return undefined;
    if (error !== undefined || seq === undefined) throw new Error(`a will cannot be written: ${error?.description}`);
    return seq;
  }
}

function subjectOf(owner: string, clientId: string): string {
  return `${WILL_PREFIX}${owner}.${clientKey(clientId)}`;
}
