/**
 * Whether a message costs more CPU the more nodes there are. One node does all the work (publishers and subscribers are its clients), or two
 * do (publishers on one, subscribers on the other), as fast as they go; further nodes are members of the cluster, with clients and subscriptions
 * of their own. Beside it stands a second cluster without further nodes, in which the same is measured just before or after: this machine may be
 * twice as fast a minute later, so only neighbours can be compared. All nodes of both are there all the time, so that both share their core with the same.
 *
 *   npm run bench:further-nodes -- [--nats 1] [--nodes 2,4,8] [--rounds 2] [--results FILE] [--write] [scenario...]
 *
 * --results, --write and --rounds 0 as in scaling.ts. Nodes on core 0, NATS and the load generator on core 1.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { natsServerBinary } from '../support/nats-binary.ts';
import { circumstances } from './circumstances.ts';
import { replaceSection } from './document.ts';
import { FurtherNodesCluster } from './further-nodes-cluster.ts';
import { type FurtherNodesFigures, type FurtherNodesPoint, furtherNodesTable } from './further-nodes-table.ts';
import { loadGenerator, runLoad } from './load-generator.ts';
import { OTHER_CORE } from './pinned-process.ts';
import { type Counters, perSecond } from './scaling-figures.ts';
import { chosenScenarios, type ScalingScenario } from './scaling-scenarios.ts';
import { natsVersion, supermqVersion } from './versions.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    nats: { type: 'string', default: '1' },
    nodes: { type: 'string', default: '2,4,8' },
    rounds: { type: 'string', default: '2' },
    results: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});
const document = fileURLToPath(new URL('../../docs/sizing.md', import.meta.url));
/** Connecting, subscribing and the first messages are not in the window. */
const RAMP_MILLISECONDS = 700;
const WINDOW_MILLISECONDS = 1_300;
const LOAD_SECONDS = 2;
/** Before the first measurement of nodes: code that is not compiled yet costs more. */
const WARM_UP_SECONDS = 1.5;

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

function perMessage({ published, edgeCpu, natsCpu }: Counters): FurtherNodesFigures {
  return { publishedRate: published, edgeCpu: edgeCpu / published, natsCpu: natsCpu / published };
}

async function measure(
  generator: string,
  cluster: FurtherNodesCluster,
  active: number,
  scenario: ScalingScenario,
): Promise<FurtherNodesFigures | undefined> {
  const running = runLoad(generator, load(cluster, active, scenario, LOAD_SECONDS), OTHER_CORE);
  await pause(RAMP_MILLISECONDS);
  const from = await cluster.counters(active);
  await pause(WINDOW_MILLISECONDS);
  const counters = perSecond(from, await cluster.counters(active));
  const { error, lost = 0 } = await running;
  if (error === undefined && lost === 0) return perMessage(counters);
  process.stderr.write(`left out: ${error ?? `${lost} lost`}\n`);
  return undefined;
}

/** Each scenario for a moment: code that is not compiled yet costs more. */
async function warmUp(generator: string, cluster: FurtherNodesCluster, active: number): Promise<void> {
  for (const [, scenario] of wanted) {
    await runLoad(generator, load(cluster, active, scenario, WARM_UP_SECONDS), OTHER_CORE);
  }
}

function keep(point: FurtherNodesPoint): void {
  points.push(point);
  if (values.results !== undefined) appendFileSync(values.results, `${JSON.stringify(point)}\n`);
}

interface Clusters {
  readonly grown: FurtherNodesCluster;
  /** Without further nodes. */
  readonly alone: FurtherNodesCluster;
}

async function measureSize(
  generator: string,
  { alone, grown }: Clusters,
  here: { readonly round: number; readonly active: number; readonly further: number },
): Promise<void> {
  for (const [index, [scenario, what]] of wanted.entries()) {
    process.stderr.write(`NATS servers ${natsServers}: ${scenario}, active ${here.active}, further ${here.further}\n`);
    // In turn before and after.
    const isAloneFirst = (index + here.further + here.round) % 2 === 0;
    const found = new Map<FurtherNodesCluster, FurtherNodesFigures | undefined>();
    for (const cluster of isAloneFirst ? [alone, grown] : [grown, alone]) {
      found.set(cluster, await measure(generator, cluster, here.active, what));
    }
    const [before, figures] = [found.get(alone), found.get(grown)];
    if (before !== undefined && figures !== undefined)
      keep({ nats: natsServers, ...here, scenario, figures, alone: before });
  }
}

async function oneRound(generator: string, round: number): Promise<void> {
  const alone = await FurtherNodesCluster.start(natsServers, generator);
  const grown = await FurtherNodesCluster.start(natsServers, generator);
  try {
    for (const active of [1, 2]) {
      await alone.resize(active);
      await warmUp(generator, alone, active);
      const larger = sizes.filter((size) => size > active);
      for (const nodes of larger) {
        await grown.resize(nodes);
        if (nodes === larger[0]) await warmUp(generator, grown, active);
        await measureSize(generator, { alone, grown }, { round, active, further: nodes - active });
      }
    }
  } finally {
    await grown.stop();
    await alone.stop();
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
  const before = new Set(points.filter(({ nats }) => nats === natsServers).map(({ round }) => round)).size;
  for (let round = before; round < before + Number(values.rounds); round++) await oneRound(generator, round);
  const table = await text();
  process.stdout.write(`${table}\n`);
  if (!values.write) return;
  writeFileSync(document, replaceSection(readFileSync(document, 'utf8'), `further-nodes-${natsServers}`, table));
}

await main();
process.exit(0);
