/**
 * Fuzzes the decoder layer in this process: packet after packet, legal and mutated, until something is found. Packet n of a seed is always the
 * same, and what a connection remembers begins anew every BLOCK packets, so that each defect can be had again by its seed and number.
 */
import { memoryUsage } from 'node:process';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Random } from '../support/random.ts';
import { DecoderTarget, type Outcome } from './decoder.ts';
import { mutate } from './mutate.ts';
import { makeSamples, type Sample } from './samples.ts';

/** Packets that one target sees. */
const BLOCK = 1_000;
const SAMPLES_PER_VERSION = 400;
const UNCHANGED = 0.1;
const MEASURED_EVERY = 1_000_000;
/** The heap after a collection may not be this much larger than after the first block. */
const MAXIMUM_GROWTH_BYTES = 16 * 1024 * 1024;

export interface DecoderFuzzOptions {
  readonly seed: number;
  readonly packets: number;
  /** Number of the first packet. */
  readonly from?: number;
  /** Called with the number of each block before it is fed. */
  readonly begins?: (packet: number) => void;
}

export type Outcomes = Record<Outcome, number>;

export interface DecoderFuzzResult {
  readonly outcomes: Outcomes;
  /** Heap in use after garbage collections, the first one after the first block. */
  readonly heapBytes: readonly number[];
}

/** A defect, and how to see it again. */
export class FuzzFailure extends Error {
  constructor(seed: number, packet: number, { bytes, version }: Sample, cause: unknown) {
    const what = cause instanceof Error ? cause.message : String(cause);
    const replay = `npm run soak:fuzz -- seed=${seed} from=${packet - (packet % BLOCK)} packets=${(packet % BLOCK) + 1} streams=0`;
    super(`packet ${packet} of seed ${seed}, version ${version}, ${bytes.toString('hex')}: ${what}\nagain: ${replay}`, {
      cause,
    });
    this.name = 'FuzzFailure';
  }
}

/**
 * Long runs make errors without their stacks, which take most of the time; a defect that is had again alone has its stack.
 * @throws FuzzFailure
 */
export function fuzzDecoder(options: DecoderFuzzOptions): DecoderFuzzResult {
  const { stackTraceLimit } = Error;
  if (options.packets > BLOCK) Error.stackTraceLimit = 0;
  try {
    return feedAll(options);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function feedAll({ begins, from = 0, packets, seed }: DecoderFuzzOptions): DecoderFuzzResult {
  const samples = makeSamples(new Random(seed, -2), SAMPLES_PER_VERSION);
  const outcomes: Outcomes = { accepted: 0, refused: 0, incomplete: 0 };
  const heapBytes: number[] = [];
  let target = new DecoderTarget();
  for (let packet = from; packet < from + packets; packet++) {
    if (packet % BLOCK === 0) {
      target = new DecoderTarget();
      begins?.(packet);
    }
    outcomes[feedOne(target, samples, seed, packet)]++;
    const done = packet - from + 1;
    if (done === BLOCK || done % MEASURED_EVERY === 0) heapBytes.push(heapAfterCollection());
  }
  const [first = 0] = heapBytes;
  const growth = Math.max(...heapBytes) - first;
  if (growth > MAXIMUM_GROWTH_BYTES) throw new Error(`the heap grew by ${growth} bytes with seed ${seed}`);
  return { outcomes, heapBytes };
}

function feedOne(target: DecoderTarget, samples: readonly Sample[], seed: number, packet: number): Outcome {
  const random = new Random(seed, packet);
  const sample = random.pick(samples);
  const isLegal = random.chance(UNCHANGED);
  const bytes = isLegal ? sample.bytes : mutate(sample.bytes, random, samples);
  const fed = { bytes, version: sample.version };
  try {
    const outcome = target.feed(sample.version, chunksOf(bytes, random));
    if (isLegal && outcome !== 'accepted') throw new Error(`a legal packet was ${outcome}`);
    return outcome;
  } catch (cause) {
    throw new FuzzFailure(seed, packet, fed, cause);
  }
}

/** Mostly whole; else in pieces that each have memory of their own, as reads of a socket do. */
export function chunksOf(bytes: Buffer, random: Random): Buffer[] {
  if (random.chance(0.7)) return [bytes];
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + random.below(random.chance(0.5) ? 3 : bytes.length);
    chunks.push(Buffer.from(bytes.subarray(at, end)));
    at = end;
  }
  return chunks;
}

function heapAfterCollection(): number {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  collect();
  return memoryUsage().heapUsed;
}
