/**
 * Side by side: supermq on NATS, mosquitto, aedes and nats-server's own MQTT, in turn within each round; medians of all
 * rounds as Markdown tables. Broker on core 0, load generator and nats-server on core 1.
 *
 *   npm run build && MQTTLOAD=/path/to/mqttload npm run bench [rounds] [scenario...]
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { type Peer, startPeers } from './peers.ts';

type Result = Readonly<Record<string, number>>;

const generator = process.env['MQTTLOAD'];
const scenarios: Record<string, string[]> = {
  fanout: ['fanout', '--subs', '50', '--secs', '4', '--ahead', '2000'],
  fanin: ['fanin', '--pubs', '50', '--secs', '4', '--ahead', '5000'],
  pair: ['pair', '-n', '100', '--secs', '4', '--ahead', '20000'],
  group: ['group', '--subs', '4', '--secs', '4', '--ahead', '5000'],
  latency: ['latency', '--secs', '4'],
  conns: ['conns', '-n', '10000'],
  // Stored by supermq and nats-server (one replica, file), remembered by mosquitto and aedes.
  'pair-qos1': ['pair', '-n', '100', '-q', '1', '--window', '20', '--secs', '4'],
  'pair-qos2': ['pair', '-n', '100', '-q', '2', '--window', '20', '--secs', '4'],
  'latency-qos1': ['latency', '-q', '1', '--secs', '4'],
  session: ['session', '-n', '200', '--count', '100'],
  'session-2000': ['session', '-n', '2000', '--count', '100', '--idle', '10'],
};

async function measure(peer: Peer, scenario: string): Promise<Result> {
  const args = ['-c', '1', generator ?? '', ...(scenarios[scenario] ?? []), '-h', `127.0.0.1:${peer.port}`];
  const natsBefore = peer.natsPid === undefined ? 0 : cpuSeconds(peer.natsPid);
  // Exit code 2: the scenario could not be set up on this peer; the line says why.
  const { stdout } = await promisify(execFile)('taskset', [...args, '--pid', String(peer.pid)]).catch(
    (error: { stdout: string }) => error,
  );
  const natsCpu = peer.natsPid === undefined ? 0 : cpuSeconds(peer.natsPid) - natsBefore;
  const line = JSON.parse(stdout === '' ? '{}' : stdout) as Record<string, number> & {
    lat_us?: Record<string, number>;
  };
  const figure = (name: string): number => line[name] ?? Number.NaN;
  return {
    'messages/s': figure('deliver_rate'),
    'per CPU-s': figure('per_cpu_s'),
    'per CPU-s with NATS': figure('delivered') / (figure('broker_cpu_s') + natsCpu),
    lost: figure('lost'),
    'drain s': figure('drain_s'),
    'p50 µs': line.lat_us?.['p50'] ?? Number.NaN,
    'p99 µs': line.lat_us?.['p99'] ?? Number.NaN,
    'connects/s': figure('connects_per_s'),
    'bytes each': figure('bytes_per_conn'),
  };
}

/** User and system time of a process so far. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}

function shown(cell: number): string {
  if (Number.isNaN(cell)) return '';
  return cell < 100 ? String(Math.round(cell * 10) / 10) : Math.round(cell).toLocaleString('en');
}

function table(scenario: string, results: ReadonlyMap<string, readonly Result[]>): string {
  const all = [...results.values()].flat();
  const figures = Object.keys(all[0] ?? {}).filter((figure) => all.some((result) => !Number.isNaN(result[figure])));
  const rows = [...results].map(([name, rounds]) => {
    const cells = figures.map((figure) => median(rounds.map((round) => round[figure] ?? Number.NaN)));
    return `| ${name} | ${cells.map(shown).join(' | ')} |`;
  });
  const title = `\n\`mqttload ${scenarios[scenario]?.join(' ')}\`\n`;
  return [
    title,
    `| ${scenario} | ${figures.join(' | ')} |`,
    `|---|${figures.map(() => '---:|').join('')}`,
    ...rows,
  ].join('\n');
}

if (generator === undefined) throw new Error('MQTTLOAD must be the path of the mqttload binary');
const [rounds = '3', ...wanted] = process.argv.slice(2);
const peers = await startPeers();
for (const scenario of wanted.length > 0 ? wanted : Object.keys(scenarios)) {
  const results = new Map<string, Result[]>();
  for (let round = 0; round < Number(rounds); round++) {
    for (const peer of peers)
      results.set(peer.name, [...(results.get(peer.name) ?? []), await measure(peer, scenario)]);
  }
  process.stdout.write(`${table(scenario, results)}\n`);
}
process.exit(0);
