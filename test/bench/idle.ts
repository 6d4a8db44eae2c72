/**
 * What an idle connection is made of: `npm run bench:idle [connections]`. Heap snapshots of an edge process on a real nats-server before and after
 * the connections were opened, told apart by what the objects are; resident memory comes from a second process that no snapshot has grown.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';
import { difference, type Kinds, kindsOf } from './heap-kinds.ts';

const [count = 5_000] = process.argv.slice(2).map(Number);
/** Connections that are there before the first snapshot, so that code and tables are made already. */
const WARM_CONNECTIONS = 200;
/** Connects under way at once. */
const PENDING = 50;
const SHOWN_BYTES = 20;

interface Variant {
  readonly name: string;
  readonly fields: ConnectFields;
  readonly subscribes: boolean;
}

const variants: readonly Variant[] = [
  { name: '3.1.1, clean session', fields: { version: 4 }, subscribes: false },
  { name: '5.0, clean start', fields: { version: 5 }, subscribes: false },
  {
    name: '5.0, session and one subscription',
    fields: { version: 5, properties: { sessionExpiryInterval: 3600 } },
    subscribes: true,
  },
];

async function openMany(port: number, { fields, subscribes }: Variant, prefix: string, total: number): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < total) {
      const clientId = `${prefix}-${next++}`;
      const client = await RawClient.connect(port, { keepalive: 0, clientId, ...fields });
      if (subscribes) await client.subscribe({ topic: `idle/${clientId}`, qos: 1 });
    }
  };
  await Promise.all(Array.from({ length: PENDING }, worker));
}

/** Takes a heap snapshot of the process, which collects its garbage first. */
async function snapshot(edge: EdgeProcess, folder: string): Promise<Kinds> {
  process.kill(edge.pid, 'SIGUSR2');
  const written = (): string | undefined => readdirSync(folder).find((name) => name.endsWith('.heapsnapshot'));
  await poll(async () => endsWell(folder, written()), { what: 'a heap snapshot', timeoutMs: 60_000 });
  const file = join(folder, written() ?? '');
  const kinds = kindsOf(readFileSync(file, 'utf8'));
  rmSync(file);
  return kinds;
}

function endsWell(folder: string, name: string | undefined): boolean {
  return name !== undefined && readFileSync(join(folder, name)).subarray(-8).toString().trimEnd().endsWith(']}');
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

async function residentEach(env: Record<string, string>, variant: Variant): Promise<number> {
  const edge = await EdgeProcess.start(env);
  await openMany(edge.tcp, variant, 'warm-rss', WARM_CONNECTIONS);
  const before = residentBytes(edge.pid);
  await openMany(edge.tcp, variant, 'rss', count);
  const each = (residentBytes(edge.pid) - before) / count;
  await edge.kill();
  return each;
}

async function heapEach(env: Record<string, string>, variant: Variant): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-heap-'));
  const options = `--heapsnapshot-signal=SIGUSR2 --diagnostic-dir=${folder}`;
  const edge = await EdgeProcess.start({ ...env, NODE_OPTIONS: options });
  await openMany(edge.tcp, variant, 'warm-heap', WARM_CONNECTIONS);
  const before = await snapshot(edge, folder);
  await openMany(edge.tcp, variant, 'heap', count);
  const rows = difference(before, await snapshot(edge, folder), count);
  await edge.kill();
  rmSync(folder, { recursive: true });
  const total = rows.reduce((sum, { bytes }) => sum + bytes, 0);
  say(`| ${variant.name} | count | bytes |\n|---|---:|---:|`);
  for (const { bytes, kind, number } of rows)
    if (bytes >= SHOWN_BYTES) say(`| ${kind} | ${number.toFixed(2)} | ${Math.round(bytes)} |`);
  say(`| all that the snapshot knows | | ${Math.round(total)} |`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

for (const variant of variants) {
  const nats = await startNatsServer();
  const env = { SUPERMQ_NATS_SERVERS: nats.url };
  say('');
  await heapEach(env, variant);
  say(`| resident, garbage included | | ${Math.round(await residentEach(env, variant))} |`);
  await nats.stop();
}
process.exit(0);
