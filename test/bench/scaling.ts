/**
 * What a message costs on 1, 2, 4 and 8 edge nodes, on one nats-server and on a cluster of three: CPU of all nodes and of NATS, messages and bytes
 * in and out of NATS, each per published message, less what idle nodes do. At fixed rates, so that nothing is saturated: the same rate in all,
 * and the same rate for each node, because a node with less to do finds less in each read and batches less. --saturated: also as fast as it goes.
 *
 *   npm run bench:scaling -- [--nats 1] [--nodes 1,2,4,8] [--rate 2000] [--saturated] [--rounds 2] [--results FILE] [--write] [scenario...]
 *
 * Prints the tables. --results keeps measurements in a file, adds those already there to the tables, and so lets a run be done in pieces;
 * --rounds 0 only prints them. --write puts the tables into docs/sizing.md. Nodes on core 0, NATS and the load generator on core 1.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { natsServerBinary } from '../support/nats-binary.ts';
import { circumstances, type Version } from './circumstances.ts';
import { replaceSection } from './document.ts';
import { loadGenerator, runLoad } from './load-generator.ts';
import { OTHER_CORE } from './pinned-process.ts';
import { type Deployment, startDeployment } from './scaling-deployment.ts';
import { type Counters, idleTable, type Point, perMessage, perSecond, scalingTable } from './scaling-figures.ts';
import { chosenScenarios, type ScalingScenario, scenarios } from './scaling-scenarios.ts';
import { natsVersion, supermqVersion } from './versions.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    nats: { type: 'string', default: '1' },
    nodes: { type: 'string', default: '1,2,4,8' },
    rate: { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '2' },
    saturated: { type: 'boolean', default: false },
    results: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});
const document = fileURLToPath(new URL('../../docs/sizing.md', import.meta.url));
const RAMP_MILLISECONDS = 1_200;
const WINDOW_MILLISECONDS = 3_500;
const LOAD_SECONDS = 6;
const MOST_NODES = 8;
/** Of the rate; below it the machine could not keep up. */
const LEAST_SHARE = 0.95;

const wanted = chosenScenarios(positionals);
const natsServers = Number(values.nats);
const points: Point[] = [];

function keep(point: Point): void {
  points.push(point);
  if (values.results !== undefined) appendFileSync(values.results, `${JSON.stringify(point)}\n`);
}

async function window(deployment: Deployment): Promise<Counters> {
  const from = await deployment.counters();
  await pause(WINDOW_MILLISECONDS);
  return perSecond(from, await deployment.counters());
}

async function underLoad(
  deployment: Deployment,
  generator: string,
  { args, saturate }: ScalingScenario,
  rate: number,
): Promise<Counters | undefined> {
  const { endpoints } = deployment;
  // One further: publisher and subscriber of a pair are on different nodes.
  const shifted = [...endpoints.slice(1), ...endpoints.slice(0, 1)];
  const where = ['--pub', endpoints.join(','), '--sub', shifted.join(',')];
  const how = rate === 0 ? saturate : ['--rate', String(rate)];
  const load = [...how, '--secs', String(LOAD_SECONDS), '--warmup', '0'];
  const running = runLoad(generator, [...args, ...where, ...load], OTHER_CORE);
  await pause(RAMP_MILLISECONDS);
  const counters = await window(deployment);
  const { error, lost = 0, published = 0, secs = 1 } = await running;
  const least = Math.min(published / secs, counters.published);
  if (error === undefined && lost === 0 && least >= LEAST_SHARE * rate) return counters;
  // Something else was busy here: what a message costs cannot be told.
  process.stderr.write(`left out: ${error ?? `${lost} lost, ${Math.round(least)} of ${rate}/s`}\n`);
  return undefined;
}

function idleFigures(deployment: Deployment, idle: Counters, nodes: number, subscriptions: number): Point['figures'] {
  return {
    'edge CPU each, ms/s': idle.edgeCpu / 1000 / nodes,
    'NATS CPU, ms/s': idle.natsCpu / 1000,
    'NATS in/s': idle.natsIn,
    'NATS out/s': idle.natsOut,
    'over routes/s': idle.routed,
    'NATS subscriptions': subscriptions,
    'MB each': deployment.residentMegabytes(),
  };
}

async function measure(nodes: number, generator: string): Promise<void> {
  const deployment = await startDeployment(natsServers, nodes);
  try {
    const here = { nats: natsServers, nodes };
    await pause(RAMP_MILLISECONDS);
    const idle = await window(deployment);
    const figures = idleFigures(deployment, idle, nodes, await deployment.subscriptions());
    keep({ ...here, scenario: 'idle', rate: 0, figures });
    for (const [name, scenario] of wanted) {
      const most = Number(values.rate) * scenario.share;
      for (const rate of new Set([(most * nodes) / MOST_NODES, most, ...(values.saturated ? [0] : [])])) {
        process.stderr.write(`NATS servers ${natsServers}, nodes ${nodes}: ${name} at ${rate}/s\n`);
        const busy = await underLoad(deployment, generator, scenario, rate);
        if (busy !== undefined) keep({ ...here, scenario: name, rate, figures: perMessage(busy, idle) });
      }
    }
  } finally {
    await deployment.stop();
  }
}

function isSame(one: Point, other: Point): boolean {
  return one.nodes === other.nodes && one.scenario === other.scenario && one.rate === other.rate;
}

function tables(versions: readonly Version[]): string {
  const here = points.filter(({ nats }) => nats === natsServers);
  const of = (name: string): Point[] => here.filter(({ scenario }) => scenario === name);
  const parts = Object.entries(scenarios)
    .filter(([name]) => of(name).length > 0)
    .map(([name, { args }]) => `\`mqttload ${args.join(' ')}\`\n\n${scalingTable(of(name))}`);
  const rounds = Math.max(0, ...here.map((point) => here.filter((other) => isSame(point, other)).length));
  const command = `npm run bench:scaling -- --nats ${natsServers} --rounds ${rounds}`;
  const below = circumstances({ rounds, versions, command });
  return [...parts, idleTable(of('idle').sort((one, other) => one.nodes - other.nodes)), below].join('\n\n');
}

async function main(): Promise<void> {
  if (values.results !== undefined && existsSync(values.results)) {
    const lines = readFileSync(values.results, 'utf8').trim().split('\n');
    points.push(...lines.map((line) => JSON.parse(line) as Point));
  }
  const generator = await loadGenerator();
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const nodes of values.nodes.split(',')) await measure(Number(nodes), generator);
  }
  const versions = [
    { name: 'supermq', version: supermqVersion() },
    { name: 'nats-server', version: natsVersion(await natsServerBinary()) },
  ];
  const text = tables(versions);
  process.stdout.write(`${text}\n`);
  if (!values.write) return;
  writeFileSync(document, replaceSection(readFileSync(document, 'utf8'), `scaling-${natsServers}`, text));
}

await main();
process.exit(0);
