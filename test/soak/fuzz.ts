/**
 * `npm run soak:fuzz -- packets=10000000 streams=20000 seed=1 from=0`: the fuzzers of this folder for as long as one likes. Prints what was
 * found with its seed and number, or how much was tried.
 */
import { Worker } from 'node:worker_threads';
import { EdgeProcess } from '../support/node.ts';
import { fuzzDecoder } from './decoder-fuzz.ts';
import { fuzzStreams } from './stream-fuzz.ts';

const STALLED_MILLISECONDS = 30_000;
const TOLD_EVERY = 500_000;

function option(name: string, otherwise: number): number {
  const given = process.argv.slice(2).find((argument) => argument.startsWith(`${name}=`));
  const value = given === undefined ? otherwise : Number(given.slice(name.length + 1));
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is not a whole number`);
  return value;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A decoder that never returns can only be seen from another thread, which names the block and ends the process. */
function watch(seed: number): { begins: (packet: number) => void; end: () => Promise<number> } {
  const shared = new SharedArrayBuffer(8);
  const block = new BigInt64Array(shared);
  const code = `
    const { workerData: { shared, seed, every } } = require('node:worker_threads');
    const block = new BigInt64Array(shared);
    let last = -1n;
    setInterval(() => {
      if (block[0] === last) {
        require('node:fs').writeSync(2, 'no progress since packet ' + last + ' of seed ' + seed + '\\n');
        process.kill(process.pid, 'SIGKILL');
      }
      last = block[0];
    }, every);`;
  const worker = new Worker(code, { eval: true, workerData: { shared, seed, every: STALLED_MILLISECONDS } });
  const begins = (packet: number): void => {
    Atomics.store(block, 0, BigInt(packet));
    if (packet % TOLD_EVERY === 0) say(`decoder: at packet ${packet}`);
  };
  return { begins, end: () => worker.terminate() };
}

async function runDecoder(seed: number, packets: number, from: number): Promise<void> {
  const { begins, end } = watch(seed);
  const started = Date.now();
  const { heapBytes, outcomes } = fuzzDecoder({ seed, packets, from, begins });
  await end();
  const seconds = (Date.now() - started) / 1_000;
  const shares = Object.entries(outcomes).map(([name, count]) => `${((100 * count) / packets).toFixed(1)} % ${name}`);
  say(
    `decoder: ${packets} packets in ${seconds.toFixed(0)} s (${Math.round(packets / seconds)}/s): ${shares.join(', ')}`,
  );
  say(`decoder: heap in MiB after collections: ${heapBytes.map((bytes) => mebibytes(bytes)).join(' ')}`);
  say(`decoder: resident memory ${mebibytes(process.memoryUsage.rss())} MiB`);
}

async function runStreams(seed: number, streams: number, from: number): Promise<void> {
  const edge = await EdgeProcess.start({ SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '2' });
  const started = Date.now();
  const { forwarded, protocolErrors, residentBytes } = await fuzzStreams(edge, { seed, streams, from });
  const seconds = (Date.now() - started) / 1_000;
  say(
    `streams: ${streams} in ${seconds.toFixed(0)} s, ${protocolErrors} ended by a protocol error, ${forwarded} messages forwarded`,
  );
  say(`streams: resident memory of the node in MiB: ${residentBytes.map(mebibytes).join(', then ')}`);
  await edge.stop();
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1);
}

const [seed, from] = [option('seed', 1), option('from', 0)];
const [packets, streams] = [option('packets', 1_000_000), option('streams', 2_000)];
if (packets > 0) await runDecoder(seed, packets, from);
if (streams > 0) await runStreams(seed, streams, from);
