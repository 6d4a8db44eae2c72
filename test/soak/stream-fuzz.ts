/**
 * Fuzzes a node over sockets: thousands of streams of packets, legal and mutated, while an observer has its messages. The node has to stay up,
 * count no defect, keep its memory, and hand nothing on that is no legal PUBLISH.
 */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import type { EdgeProcess } from '../support/node.ts';
import { Random } from '../support/random.ts';
import { RawClient } from '../support/raw-client.ts';
import { chunksOf } from './decoder-fuzz.ts';
import { mutate } from './mutate.ts';
import { makeConnect, makeSamples, type Sample } from './samples.ts';

const PARALLEL = 40;
const MUTATED = 0.25;
const MAXIMUM_GROWTH_BYTES = 96 * 1024 * 1024;
const STREAM_MILLISECONDS = 20_000;

export interface StreamFuzzOptions {
  readonly seed: number;
  readonly streams: number;
  readonly from?: number;
}

export interface StreamFuzzResult {
  readonly protocolErrors: number;
  /** Resident memory of the node when a quarter of the streams was done, and at the end. */
  readonly residentBytes: readonly [number, number];
  /** Messages of the streams that reached the observer of everything. */
  readonly forwarded: number;
}

export async function fuzzStreams(edge: EdgeProcess, options: StreamFuzzOptions): Promise<StreamFuzzResult> {
  const { from = 0, seed, streams } = options;
  const samples = makeSamples(new Random(seed, -3), 200);
  const observer = await Observer.start(edge);
  const rounds = Math.max(4, Math.ceil(streams / 250));
  let early = 0;
  for (let round = 0; round < rounds; round++) {
    const [first, last] = [round, round + 1].map((part) => from + Math.floor((streams * part) / rounds));
    await playStreams(edge.tcp, seed, samples, first ?? 0, last ?? 0);
    await observer.isServed();
    if (round === Math.floor(rounds / 4)) early = edge.residentBytes();
  }
  const residentBytes = [early, edge.residentBytes()] as const;
  const grown = residentBytes[1] - early;
  const protocolErrors = await edge.metric('supermq_protocol_errors_total');
  assert.equal(
    await edge.metric('supermq_internal_errors_total'),
    0,
    `seed ${seed}, streams ${from} to ${from + streams}`,
  );
  assert.ok(grown < MAXIMUM_GROWTH_BYTES, `the node grew by ${Math.round(grown / 1024)} KB with seed ${seed}`);
  return { protocolErrors, residentBytes, forwarded: await observer.end() };
}

async function playStreams(
  port: number,
  seed: number,
  samples: readonly Sample[],
  first: number,
  last: number,
): Promise<void> {
  let next = first;
  const worker = async (): Promise<void> => {
    while (next < last) await playStream(port, samples, seed, next++);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

/** One connection: CONNECT and some packets, then its end; resolves when the server has closed. */
async function playStream(port: number, samples: readonly Sample[], seed: number, stream: number): Promise<void> {
  const random = new Random(seed, stream);
  const { version } = random.pick(samples);
  // A second CONNECT would be the end of most streams.
  const same = samples.filter(({ bytes, version: other }) => other === version && bytes[0] !== 0x10);
  const hello = makeConnect(random, version, `fuzz-${stream % 500}`);
  const packets = [random.chance(0.9) ? hello : mutate(hello, random, same)];
  for (let left = 1 + random.below(12); left > 0; left--) {
    const { bytes } = random.pick(same);
    packets.push(random.chance(MUTATED) ? mutate(bytes, random, same) : bytes);
  }
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => {}); // the server may close at any byte
  socket.resume();
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  for (const chunk of chunksOf(Buffer.concat(packets), random)) {
    if (socket.destroyed) break;
    socket.write(chunk);
    if (random.chance(0.3)) await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
  await withinTime(closed, socket, `stream ${stream} of seed ${seed} was not closed`);
}

async function withinTime(closed: Promise<void>, socket: Socket, text: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(text)), STREAM_MILLISECONDS);
  });
  try {
    await Promise.race([closed, late]);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** Two clients that the streams must not disturb: one has its messages in order, one sees everything that is forwarded. */
class Observer {
  readonly #publisher: RawClient;
  readonly #subscriber: RawClient;
  readonly #everything: RawClient;
  #round = 0;
  #forwarded = 0;

  private constructor(publisher: RawClient, subscriber: RawClient, everything: RawClient) {
    [this.#publisher, this.#subscriber, this.#everything] = [publisher, subscriber, everything];
  }

  static async start(edge: EdgeProcess): Promise<Observer> {
    const quiet = { keepalive: 0 };
    const publisher = await RawClient.connect(edge.tcp, quiet);
    const subscriber = await RawClient.connect(edge.tcp, quiet);
    const everything = await RawClient.connect(edge.tcp, { ...quiet, version: 5 });
    await subscriber.subscribe('calm');
    await everything.subscribe('#');
    return new Observer(publisher, subscriber, everything);
  }

  async isServed(): Promise<void> {
    const payload = String(++this.#round);
    this.#publisher.publish('calm', payload);
    assert.equal((await this.#subscriber.next('publish')).payload.toString(), payload);
    await this.#everything.ping();
    const seen = this.#everything.taken('publish');
    // A PUBLISH that mqtt-packet cannot read ends the test by itself.
    for (const { topic } of seen) assert.ok(topic !== '' && !/[+#\0]/.test(topic) && !topic.startsWith('$'), topic);
    this.#forwarded += seen.length;
  }

  async end(): Promise<number> {
    await Promise.all([this.#publisher, this.#subscriber, this.#everything].map((client) => client.end()));
    return this.#forwarded - this.#round;
  }
}
