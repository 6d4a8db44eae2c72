/**
 * Stored messages as NATS carries them → LogRecord. Runs for every live message: the header block is scanned as text, never parsed
 * into an object. Of what the server adds only the last occurrence counts: a publisher may have copied headers of another message.
 */
import type { Msg } from 'nats';
import { BoundedCache } from '../bounded-cache.ts';
import type { LogRecord } from '../broker/ports.ts';
import { makeTopic, type Topic } from '../message.ts';
import { type PublishProperties, scanPublishProperties } from '../mqtt/properties.ts';
import type { MessageParts } from './direct-answer.ts';
import { ORIGIN_HEADER, PROPERTIES_HEADER, QOS_HEADER, RETAIN_HEADER } from './envelope.ts';
import type { StoredMessage } from './jetstream.ts';
import { decodeText, headerBlock, lastHeader } from './raw-message.ts';
import type { SubjectMap } from './subject.ts';

export const LOG_STREAM = 'SMQ_LOG';
/** Under these the log stores messages, and the live copies come. */
export const LOG_PREFIX = '$SMQ.log.';
export const LIVE_PREFIX = '$SMQ.live.';

/** Characters of remembered subjects: about 25,000 usual ones. */
const TOPIC_CHARACTERS = 2 * 1024 * 1024;
const nothing = Buffer.alloc(0);

export class LogRecords {
  readonly #subjects: SubjectMap;
  /** Of the subjects of stored messages. */
  readonly #prefix: string;
  readonly #topics = new BoundedCache<Topic>(TOPIC_CHARACTERS);

  constructor(subjects: SubjectMap, prefix = LOG_PREFIX) {
    this.#prefix = prefix;
    this.#subjects = subjects;
  }

  /** A live copy; undefined for what is no message of the log or no MQTT message. */
  ofLive(message: Msg): LogRecord | undefined {
    return this.#of(message.subject.slice(LIVE_PREFIX.length), headerBlock(message), message.data);
  }

  /** A message of a batched direct get. */
  ofDirect(message: Msg): LogRecord | undefined {
    const block = headerBlock(message);
    const subject = decodeText(lastHeader(block, 'Nats-Subject') ?? '');
    return this.#of(subject.slice(this.#prefix.length), block, message.data);
  }

  /** A message of a batched direct get whose answer was taken apart; its subject without the prefix. */
  ofParts(subject: string, sequence: number, parts: MessageParts): LogRecord | undefined {
    const { chunk, end, linesEnd, payload, start, time, timeEnd } = parts;
    readHeaders(chunk.latin1Slice(start, linesEnd));
    headers.sequence = sequence;
    headers.previous = 0;
    headers.time = headers.properties === '' ? '' : chunk.latin1Slice(time, timeEnd);
    const copy = Buffer.allocUnsafe(end - payload);
    chunk.copy(copy, 0, payload, end);
    return this.#make(subject, copy);
  }

  /** A message of STREAM.MSG.GET, which does not tell its predecessor. */
  ofStored({ data = '', hdrs = '', seq, subject, time }: StoredMessage): LogRecord | undefined {
    const block = Buffer.from(hdrs, 'base64')
      .toString('latin1')
      .replace(/\r\n\r\n$/, '\r\n');
    const added = `Nats-Sequence: ${seq}\r\nNats-Last-Sequence: 0\r\nNats-Time-Stamp: ${time}\r\n\r\n`;
    const complete = block === '' ? `NATS/1.0\r\n${added}` : block + added;
    return this.#of(subject.slice(this.#prefix.length), complete, Buffer.from(data, 'base64'));
  }

  /** A message of a consumer; what the server knows of it comes in its reply subject. `storedAt`: milliseconds since the epoch. */
  ofConsumed(message: Msg, sequence: number, storedAt: number): LogRecord | undefined {
    readHeaders(headerBlock(message));
    headers.sequence = sequence;
    headers.previous = 0;
    headers.time = '';
    const record = this.#make(message.subject.slice(this.#prefix.length), Buffer.from(message.data));
    return record?.expirySeconds === undefined ? record : { ...record, storedAt };
  }

  #of(subject: string, block: string, data: Uint8Array): LogRecord | undefined {
    readHeaders(block);
    return this.#make(subject, Buffer.from(data));
  }

  /** Of what {@link readHeaders} has found; `payload`: a copy, which keeps no chunk. */
  #make(subject: string, payload: Buffer): LogRecord | undefined {
    const topic = this.#topicOf(subject);
    const { messageId, origin, previous, properties, qos, retain, sequence, time } = headers;
    if (topic === undefined || !(sequence > 0) || !(previous >= 0)) return undefined;
    if (properties === '') {
      const extras = origin === '' && !retain ? undefined : { properties: nothing, retain, origin };
      return { sequence, previous, topic, payload, qos, extras, expirySeconds: undefined, storedAt: 0, messageId };
    }
    const scanned = propertiesOf(properties);
    if (scanned === undefined) return undefined;
    const { forward, messageExpirySeconds: expirySeconds } = scanned;
    const storedAt = expirySeconds === undefined ? 0 : Date.parse(time);
    const extras = { properties: forward, retain, origin };
    return { sequence, previous, topic, payload, qos, extras, expirySeconds, storedAt, messageId };
  }

  /** Undefined for subjects that no topic maps to, and for what lies behind the walls. */
  #topicOf(subject: string): Topic | undefined {
    const known = this.#topics.get(subject);
    if (known !== undefined) return known;
    if (this.#subjects.startsWithHidden(subject)) return undefined;
    const name = this.#subjects.decodeSubject(subject);
    if (name === undefined) return undefined;
    const topic = makeTopic(name);
    this.#topics.add(subject, topic);
    return topic;
  }
}

/** Undefined for properties that no PUBLISH may carry: a NATS application's header that no client could have sent; the caller counts it. */
function propertiesOf(encoded: string): PublishProperties | undefined {
  const properties = Buffer.from(encoded, 'base64');
  try {
    return scanPublishProperties(properties, 0, properties.length);
  } catch {
    return undefined;
  }
}

/** What {@link readHeaders} found last. */
const headers = {
  sequence: 0,
  previous: 0,
  time: '',
  qos: 1 as LogRecord['qos'],
  origin: '',
  properties: '',
  retain: false,
  messageId: '',
};

/** One pass over the lines; of a name that comes twice the last one counts. */
function readHeaders(block: string): void {
  headers.sequence = 0;
  headers.previous = -1;
  headers.qos = 1;
  headers.origin = '';
  headers.properties = '';
  headers.retain = false;
  headers.messageId = '';
  for (let start = block.indexOf('\r\n') + 2; start > 1; ) {
    const end = block.indexOf('\r\n', start);
    if (end <= start) return;
    readLine(block, start, end);
    start = end + 2;
  }
}

function readLine(block: string, start: number, end: number): void {
  if (block.startsWith('Nats-', start)) {
    if (block.startsWith('Sequence: ', start + 5)) headers.sequence = Number(block.slice(start + 15, end));
    else if (block.startsWith('Last-Sequence: ', start + 5)) headers.previous = Number(block.slice(start + 20, end));
    else if (block.startsWith('Time-Stamp: ', start + 5)) headers.time = block.slice(start + 17, end);
    else if (block.startsWith('Msg-Id: ', start + 5)) headers.messageId = block.slice(start + 13, end);
  } else if (block.startsWith('Mqtt-', start)) {
    const value = block.slice(block.indexOf(': ', start) + 2, end);
    if (block.startsWith(`${ORIGIN_HEADER}:`, start)) headers.origin = value;
    else if (block.startsWith(`${QOS_HEADER}:`, start)) headers.qos = value === '2' ? 2 : value === '0' ? 0 : 1;
    else if (block.startsWith(`${PROPERTIES_HEADER}:`, start)) headers.properties = value;
    else if (block.startsWith(`${RETAIN_HEADER}:`, start)) headers.retain = value === '1';
  }
}
