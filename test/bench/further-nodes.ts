/**
 * Whether a message costs more CPU the more nodes there are. One node does all the work (publishers and subscribers are its clients), or two
 * do (publishers on one, subscribers on the other), as fast as they go, while 0, 1, 3 and 7 further nodes are members of the cluster, with clients
 * and subscriptions of their own. So the nodes that are measured are equally busy in every row, and their CPU per message can be compared.
 *
 *   npm run bench:further-nodes -- [--nats 1] [--nodes 1,2,4,8] [--rounds 2] [--results FILE] [--write] [scenario...]
 *
 * The cluster grows in one round and shrinks in the next, so that what becomes faster or slower with time does so for all. --results, --write and
 * --rounds 0 as in scaling.ts. Nodes on core 0, NATS and the load generator on core 1.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { natsServerBinary } from '../support/nats-binary.ts';
import { circumstances } from './circumstances.ts';
import { replaceSection } from './document.ts';
import { FurtherNodesCluster } from './further-nodes-cluster.ts';
import { type FurtherNodesPoint, furtherNodesTable } from './further-nodes-table.ts';
import { loadGenerator, runLoad } from './load-generator.ts';
import { OTHER_CORE } from './pinned-process.ts';
import { type Counters, perSecond } from './scaling-figures.ts';
import { chosenScenarios, type ScalingScenario } from './scaling-scenarios.ts';
import { natsVersion, supermqVersion } from './versions.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    nats: { type: 'string', default: '1' },
    nodes: { type: 'string', default: '1,2,4,8' },
    rounds: { type: 'string', default: '2' },
    results: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});
const document = fileURLToPath(new URL('../../docs/sizing.md', import.meta.url));
/** Connecting, subscribing and the first messages are not in the window. */
const RAMP_MILLISECONDS = 900;
const WINDOW_MILLISECONDS = 2_500;
const LOAD_SECONDS = 3.6;
/** Before the first measurement of nodes: code that is not compiled yet costs more. */
const WARM_UP_SECONDS = 2.5;

const natsServers = Number(values.nats);
const sizes = values.nodes.split(',').map(Number);
const wanted = chosenScenarios(positionals);
const points: FurtherNodesPoint[] = [];

/** Publishers on the first of the active nodes, subscribers on the last. */
function load(
  cluster: FurtherNodesCluster,
  active: number,
  { args, saturate }: ScalingScenario,
  seconds: number,
): string[] {
  const where = ['--pub', cluster.endpoint(0), '--sub', cluster.endpoint(active - 1)];
  return [...args, ...saturate, ...where, '--secs', String(seconds), '--warmup', '0'];
}

function perMessage({ published, edgeCpu, natsCpu }: Counters): FurtherNodesPoint['figures'] {
  return {
    'published/s': published,
    'edge µs': edgeCpu / published,
    'NATS µs': natsCpu / published,
    'cores, active nodes': edgeCpu / 1e6,
    'cores, NATS': natsCpu / 1e6,
  };
}

async function measure(
  cluster: FurtherNodesCluster,
  generator: string,
  active: number,
  scenario: ScalingScenario,
): Promise<Counters | undefined> {
  const running = runLoad(generator, load(cluster, active, scenario, LOAD_SECONDS), OTHER_CORE);
  await pause(RAMP_MILLISECONDS);
  const from = await cluster.counters(active);
  await pause(WINDOW_MILLISECONDS);
  const counters = perSecond(from, await cluster.counters(active));
  const { error, lost = 0 } = await running;
  if (error === undefined && lost === 0) return counters;
  process.stderr.write(`left out: ${error ?? `${lost} lost`}\n`);
  return undefined;
}

/** Each scenario for a moment, the first time that so many nodes are active. */
async function warmUp(cluster: FurtherNodesCluster, generator: string, active: number): Promise<void> {
  for (const [, scenario] of wanted)
    await runLoad(generator, load(cluster, active, scenario, WARM_UP_SECONDS), OTHER_CORE);
}

function keep(point: FurtherNodesPoint): void {
  points.push(point);
  if (values.results !== undefined) appendFileSync(values.results, `${JSON.stringify(point)}\n`);
}

async function measureSize(
  cluster: FurtherNodesCluster,
  generator: string,
  here: { readonly round: number; readonly active: number; readonly further: number },
): Promise<void> {
  for (const [scenario, what] of wanted) {
    process.stderr.write(
      `NATS servers ${natsServers}: ${scenario}, ${here.active} active nodes, ${here.further} further\n`,
    );
    const counters = await measure(cluster, generator, here.active, what);
    if (counters !== undefined) keep({ nats: natsServers, ...here, scenario, figures: perMessage(counters) });
  }
}

async function oneRound(generator: string, order: readonly number[]): Promise<void> {
  const cluster = await FurtherNodesCluster.start(natsServers, generator);
  const warm = new Set<number>();
  const round = Date.now();
  try {
    for (const nodes of order) {
      await cluster.resize(nodes);
      for (const active of [1, 2].filter((number) => number <= nodes)) {
        if (!warm.has(active)) await warmUp(cluster, generator, active);
        warm.add(active);
        await measureSize(cluster, generator, { round, active, further: nodes - active });
      }
    }
  } finally {
    await cluster.stop();
  }
}

async function text(): Promise<string> {
  const here = points.filter(({ nats }) => nats === natsServers);
  const rounds = new Set(here.map(({ round }) => round)).size;
  const versions = [
    { name: 'supermq', version: supermqVersion() },
    { name: 'nats-server', version: natsVersion(await natsServerBinary()) },
  ];
  const command = `npm run bench:further-nodes -- --nats ${natsServers} --rounds ${rounds}`;
  return `${furtherNodesTable(here)}\n\n${circumstances({ rounds, versions, command })}`;
}

async function main(): Promise<void> {
  if (values.results !== undefined && existsSync(values.results)) {
    const lines = readFileSync(values.results, 'utf8').trim().split('\n');
    points.push(...lines.map((line) => JSON.parse(line) as FurtherNodesPoint));
  }
  const generator = await loadGenerator();
  // In pieces, too: what the rounds before did tells which way this one goes.
  const before = new Set(points.filter(({ nats }) => nats === natsServers).map(({ round }) => round)).size;
  for (let round = before; round < before + Number(values.rounds); round++) {
    await oneRound(generator, round % 2 === 0 ? sizes : sizes.toReversed());
  }
  const table = await text();
  process.stdout.write(`${table}\n`);
  if (!values.write) return;
  writeFileSync(document, replaceSection(readFileSync(document, 'utf8'), `further-nodes-${natsServers}`, table));
}

await main();
process.exit(0);
