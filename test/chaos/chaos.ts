/**
 * `npm run chaos [-- rounds=50 seed=1 leaders=0]`: numbered flows while random parts are killed, frozen and started again: edge nodes, the only
 * nats-server, the leader of the log in a NATS cluster. One line a round; exit code 1 when a message was lost, came out of order, or
 * twice at QoS 2. A round repeats itself (as far as processes do) with `rounds=1` and the seed of its line.
 * `leaders=10` makes it ten rounds on three NATS servers whose log leader is killed in each, and nothing else.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { startNatsCluster } from '../support/nats-cluster.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { type FlowResult, runFlow } from './flow.ts';
import { streamLeader } from './stream-leader.ts';

const EDGES = 3;
const CLUSTER_EVERY = 4;
const ROUND_MILLISECONDS = 120_000;

type Random = (below: number) => number;

/** What NATS is made of, and the edge nodes on it. */
interface Stage {
  readonly name: 'one server' | 'cluster';
  readonly edges: EdgeProcess[];
  readonly urls: string;
  readonly replicas: number;
  /** Kills the server that matters most, and starts it again. */
  killNats(): Promise<void>;
  stop(): Promise<void>;
}

interface Event {
  readonly at: number;
  readonly text: string;
  readonly run: () => Promise<void>;
}

/** mulberry32. */
function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

function argument(name: string, fallback: number): number {
  const given = process.argv.slice(2).find((text) => text.startsWith(`${name}=`));
  return given === undefined ? fallback : Number(given.slice(name.length + 1));
}

async function oneServer(): Promise<Stage> {
  const server: NatsServerProcess = await startNatsServer();
  return makeStage({
    name: 'one server',
    urls: server.url,
    replicas: 1,
    killNats: async () => {
      await server.kill();
      await server.restart();
    },
    stopNats: () => server.stop(),
  });
}

async function threeServers(): Promise<Stage> {
  const cluster = await startNatsCluster(3);
  return makeStage({
    name: 'cluster',
    urls: cluster.urls.join(','),
    replicas: 3,
    killNats: async () => {
      const leader = await streamLeader(cluster);
      await leader.kill();
      await streamLeader(cluster);
      await leader.restart();
      await cluster.formed();
    },
    stopNats: () => cluster.stop(),
  });
}

async function makeStage(
  options: Omit<Stage, 'edges' | 'stop'> & { readonly stopNats: () => Promise<void> },
): Promise<Stage> {
  const { stopNats, ...rest } = options;
  const edges: EdgeProcess[] = [];
  for (let index = 0; index < EDGES; index++) edges.push(await startEdge(rest.urls, rest.replicas));
  const stop = async (): Promise<void> => {
    await Promise.all(edges.map((edge) => edge.kill()));
    await stopNats();
  };
  return { ...rest, edges, stop };
}

function startEdge(urls: string, replicas: number, port?: number): Promise<EdgeProcess> {
  return EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: urls,
    SUPERMQ_NATS_REPLICAS: String(replicas),
    ...(port === undefined ? {} : { SUPERMQ_MQTT_TCP_PORT: String(port) }),
  });
}

/** Kills a node; it comes back on its port at once or after a while. */
function killEdge(stage: Stage, random: Random, at: number): Event {
  const index = random(EDGES);
  const away = random(2) === 0 ? 0 : random(1_500);
  const run = async (): Promise<void> => {
    const port = stage.edges[index]?.tcp;
    await stage.edges[index]?.kill();
    await pause(away);
    stage.edges[index] = await startEdge(stage.urls, stage.replicas, port);
  };
  return { at, text: `edge ${index} killed for ${away} ms`, run };
}

function freezeEdge(stage: Stage, random: Random, at: number): Event {
  const index = random(EDGES);
  const away = 100 + random(4_000);
  const run = async (): Promise<void> => {
    const edge = stage.edges[index];
    if (edge === undefined || !edge.isRunning) return;
    process.kill(edge.pid, 'SIGSTOP');
    await pause(away);
    if (edge.isRunning) process.kill(edge.pid, 'SIGCONT');
  };
  return { at, text: `edge ${index} frozen for ${away} ms`, run };
}

function eventsOf(stage: Stage, random: Random, count: number): Event[] {
  const at = (): number => 1 + random(count - 1);
  const events: Event[] = [];
  const kinds = 1 + random(3);
  for (let index = 0; index < kinds; index++) {
    const kind = random(4);
    if (kind === 0) events.push(freezeEdge(stage, random, at()));
    else if (kind === 1 && !events.some(({ text }) => text === 'nats'))
      events.push({ at: at(), text: 'nats', run: () => stage.killNats() });
    else events.push(killEdge(stage, random, at()));
  }
  return events.sort((a, b) => a.at - b.at);
}

/** One after the other: two tasks that replace the same node must not meet. */
function inTurn(events: readonly Event[]): Map<number, () => Promise<void>> {
  let last: Promise<void> = Promise.resolve();
  const tasks = events.map(({ at, run }): [number, () => Promise<void>] => [
    at,
    () => {
      last = last.then(run);
      return last;
    },
  ]);
  return new Map(tasks);
}

/** Nothing but the leader of the log goes, in the middle. */
function leaderOnly(stage: Stage, random: Random, count: number): Event[] {
  return [{ at: 1 + random(count - 1), text: 'leader', run: () => stage.killNats() }];
}

async function runRound(stage: Stage, seed: number, planOf: typeof eventsOf): Promise<boolean> {
  const random = randomOf(seed);
  const qos = (1 + random(2)) as 1 | 2;
  const count = 1_000 + random(5_000);
  const topics = 1 + random(8);
  const window = 1 + random(100);
  const padding = random(4) === 0 ? random(4_000) : 0;
  const events = planOf(stage, random, count);
  const result = await runFlow({
    qos,
    count,
    topics,
    window,
    padding,
    ports: stage.edges.map(({ tcp }) => tcp),
    at: inTurn(events),
    timeoutMs: ROUND_MILLISECONDS,
  });
  const isGood = result.lost.length === 0 && result.misordered === 0 && (qos === 1 || result.repeated === 0);
  const plan = events.map(({ at, text }) => `${text} at ${at}`).join(', ');
  const flow = `QoS ${qos}, ${stage.name}, ${count} messages, ${topics} topics, window ${window}, padding ${padding}`;
  process.stdout.write(`seed ${seed}: ${isGood ? 'ok' : 'FAILED'} ${verdict(result)} | ${flow} | ${plan}\n`);
  if (!isGood) process.stdout.write(`  lost: ${result.lost.slice(0, 20)} … ${result.lost.slice(-5)}\n`);
  return isGood;
}

function verdict({ disconnects, lost, misordered, repeated, seconds }: FlowResult): string {
  return `${lost.length} lost, ${misordered} misordered, ${repeated} repeated, ${disconnects} reconnects, ${seconds.toFixed(1)} s`;
}

async function main(): Promise<void> {
  const leaders = argument('leaders', 0);
  const rounds = argument('rounds', leaders > 0 ? leaders : 50);
  const seed = argument('seed', Date.now() % 1_000_000);
  const deadline = performance.now() + argument('seconds', Number.POSITIVE_INFINITY) * 1_000;
  process.stdout.write(`chaos: ${rounds} rounds from seed ${seed}\n`);
  const stages = new Map<Stage['name'], Promise<Stage>>();
  const stageOf = (round: number): Promise<Stage> => {
    const name = leaders > 0 || round % CLUSTER_EVERY === 0 ? 'cluster' : 'one server';
    const made = stages.get(name) ?? (name === 'cluster' ? threeServers() : oneServer());
    stages.set(name, made);
    return made;
  };
  let bad = 0;
  let done = 0;
  for (; done < rounds && performance.now() < deadline; done++) {
    // By the seed, not the count: a single round with its seed is the same round.
    if (!(await runRound(await stageOf(seed + done), seed + done, leaders > 0 ? leaderOnly : eventsOf))) bad++;
  }
  for (const stage of stages.values()) await (await stage).stop();
  process.stdout.write(`${done - bad} of ${done} rounds are good\n`);
  process.exitCode = bad === 0 ? 0 : 1;
}

await main();
