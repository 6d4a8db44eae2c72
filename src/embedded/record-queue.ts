/**
 * The messages of embedded/log.ts, by position: an array whose head moves. Positions have no gaps, so a message is found without
 * searching. A message that has expired in the midst leaves the position of the one before it on its topic, which keeps the
 * chain of each topic whole.
 */
import type { LogRecord } from '../broker/ports.ts';

/** How long a message stays in the log after its Message Expiry Interval has passed: clocks differ, and sessions look at it themselves. */
const EXPIRED_STAYS_SECONDS = 3_600;
/** Memory that a message takes beside payload, properties and topic. */
const OVERHEAD_BYTES = 256;
/** Empty places before the head that are worth moving the rest. */
const MINIMUM_COMPACTED = 1_024;

/** Ordered messages up to a number of bytes and an age; the oldest go. */
export class RecordQueue {
  readonly #maximumBytes: number;
  readonly #maximumAgeMs: number;
  /** A number: gone; the position of the message before it on its topic, 0 = none. */
  #slots: Array<LogRecord | number> = [];
  /** Index of the slot of `first`. */
  #head = 0;
  #first = 1;
  #bytes = 0;
  /** Messages held that have an expiry. */
  #expiring = 0;
  /** Position of the newest message held, by topic. */
  readonly #lastOn = new Map<string, number>();

  /** `maximumAgeSeconds`: 0 = no bound. */
  constructor(maximumBytes: number, maximumAgeSeconds: number) {
    this.#maximumBytes = maximumBytes;
    this.#maximumAgeMs = maximumAgeSeconds === 0 ? Number.POSITIVE_INFINITY : maximumAgeSeconds * 1_000;
  }

  /** Position of the oldest message; `last + 1` when there is none. */
  get first(): number {
    return this.#first;
  }

  /** Position of the newest message there ever was. */
  get last(): number {
    return this.#first + (this.#slots.length - this.#head) - 1;
  }

  /** Position of the newest message held on a topic; 0 = none. */
  lastOn(topic: string): number {
    return this.#lastOn.get(topic) ?? 0;
  }

  /** Adds the message at `last + 1`; older ones make room. */
  push(record: LogRecord): void {
    this.#slots.push(record);
    this.#bytes += recordBytes(record);
    if (record.expirySeconds !== undefined) this.#expiring++;
    this.#lastOn.set(record.topic.name, record.sequence);
    this.trim(record.storedAt);
  }

  /** The message at this position; undefined = gone. `now`: milliseconds since the epoch. */
  at(sequence: number, now: number): LogRecord | undefined {
    const record = this.#slot(sequence);
    if (typeof record !== 'object') return undefined;
    if (!this.#isOver(record, now)) return record;
    this.#drop(record);
    return undefined;
  }

  /** Lets go what is over or too much at the head. */
  trim(now: number): void {
    for (let slot = this.#slots[this.#head]; slot !== undefined; slot = this.#slots[this.#head]) {
      if (typeof slot === 'object') {
        if (this.#bytes <= this.#maximumBytes && !this.#isOver(slot, now)) break;
        this.#drop(slot);
      }
      this.#head++;
      this.#first++;
    }
    if (this.#head < MINIMUM_COMPACTED || this.#head < this.#slots.length / 2) return;
    this.#slots = this.#slots.slice(this.#head);
    this.#head = 0;
  }

  /** Lets go all that is over, wherever it stands. */
  sweep(now: number): void {
    this.trim(now);
    if (this.#expiring === 0) return;
    for (let sequence = this.#first; sequence <= this.last; sequence++) this.at(sequence, now);
  }

  #slot(sequence: number): LogRecord | number | undefined {
    return sequence < this.#first ? undefined : this.#slots[this.#head + sequence - this.#first];
  }

  #isOver({ storedAt, expirySeconds }: LogRecord, now: number): boolean {
    const age = now - storedAt;
    return (
      age > this.#maximumAgeMs || (expirySeconds !== undefined && age > (expirySeconds + EXPIRED_STAYS_SECONDS) * 1_000)
    );
  }

  #drop(record: LogRecord): void {
    const { sequence, topic, previous, expirySeconds } = record;
    this.#slots[this.#head + sequence - this.#first] = previous;
    this.#bytes -= recordBytes(record);
    if (expirySeconds !== undefined) this.#expiring--;
    if (this.#lastOn.get(topic.name) !== sequence) return;
    const held = this.#heldUpTo(previous);
    if (held === 0) this.#lastOn.delete(topic.name);
    else this.#lastOn.set(topic.name, held);
  }

  /** Goes back along the chain of a topic to a message that is held; 0 = none. */
  #heldUpTo(sequence: number): number {
    let position = sequence;
    for (let slot = this.#slot(position); typeof slot === 'number'; slot = this.#slot(position)) position = slot;
    return position < this.#first ? 0 : position;
  }
}

/** What a message counts against the bound. */
export function recordBytes({ payload, extras, topic }: LogRecord): number {
  return payload.length + (extras?.properties.length ?? 0) + topic.name.length + topic.encoded.length + OVERHEAD_BYTES;
}
