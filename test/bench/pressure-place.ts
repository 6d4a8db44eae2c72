/** A fresh nats-server and edge process for one case of the pressure bench, with what is read from them while it runs. */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { loadGenerator } from './load-generator.ts';

/** The edge has a core of its own; nats-server, load generator and slow clients share the other. */
const EDGE_CORE = '0';
const OTHER_CORE = '1';
const SAMPLE_MILLISECONDS = 50;
/** After the load, before memory is looked at again. */
const CALM_MILLISECONDS = 3_000;
const MIB = 1024 * 1024;

/** What the load generator says. */
export interface Load {
  readonly published: number;
  readonly delivered: number;
  readonly lost: number;
  readonly duplicates: number;
  readonly publishRate: number;
  readonly deliverRate: number;
  readonly p99Milliseconds: number;
  readonly error: string | undefined;
}

/** Resident memory of the edge in MiB. */
export interface Memory {
  readonly before: number;
  readonly peak: number;
  readonly after: number;
}

export interface Outcome {
  readonly load: Load;
  readonly memory: Memory;
  /** Causes and counts of messages that the edge has dropped. */
  readonly dropped: ReadonlyMap<string, number>;
}

export interface Place {
  readonly nats: NatsServerProcess;
  readonly edge: EdgeProcess;
}

/** Runs `mqttload` with `args`, `beside` at the same time, and tells what came of it. */
export async function underPressure(
  args: readonly string[],
  beside: (place: Place) => Promise<() => Promise<void>>,
): Promise<Outcome> {
  const nats = await startNatsServer();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url });
  pin(nats.pid, OTHER_CORE);
  pin(edge.pid, EDGE_CORE);
  const before = edge.residentBytes() / MIB;
  const endBeside = await beside({ nats, edge });
  let peak = 0;
  const sampling = setInterval(() => {
    peak = Math.max(peak, edge.residentBytes() / MIB);
  }, SAMPLE_MILLISECONDS);
  const load = await runLoad([...args, '-h', `127.0.0.1:${edge.tcp}`]);
  await endBeside();
  await new Promise((resolve) => setTimeout(resolve, CALM_MILLISECONDS));
  clearInterval(sampling);
  const outcome = { load, memory: { before, peak, after: edge.residentBytes() / MIB }, dropped: await droppedBy(edge) };
  await edge.stop();
  await nats.stop();
  return outcome;
}

async function runLoad(args: readonly string[]): Promise<Load> {
  const generator = await loadGenerator();
  // Exit codes above 0 come with a line that says why.
  const { stdout } = await promisify(execFile)('taskset', ['-c', OTHER_CORE, generator, ...args]).catch(
    (error: { stdout: string }) => error,
  );
  const line = JSON.parse(stdout) as Record<string, number> & { lat_us?: Record<string, number>; error?: string };
  const { delivered = 0, duplicates = 0, lost = 0, published = 0 } = line;
  return {
    ...{ published, delivered, lost, duplicates, error: line.error },
    publishRate: line['pub_rate'] ?? 0,
    deliverRate: line['deliver_rate'] ?? 0,
    p99Milliseconds: (line.lat_us?.['p99'] ?? 0) / 1000,
  };
}

async function droppedBy(edge: EdgeProcess): Promise<Map<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${edge.http}/metrics`)).text();
  const found = text.matchAll(/^supermq_messages_dropped_total\{cause="(\w+)"\} (\d+)/gm);
  return new Map([...found].map(([, cause = '', count]) => [cause, Number(count)] as const).filter(([, n]) => n > 0));
}

function pin(pid: number, core: string): void {
  spawnSync('taskset', ['-a', '-c', '-p', core, String(pid)]);
}
