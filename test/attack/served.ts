/** The clients that a node serves while it is attacked: a publisher and a subscriber, and how long their messages take. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';
import { endsWithParent } from '../support/with-parent.ts';

const attacker = fileURLToPath(new URL('attacker.ts', import.meta.url));
const INTERVAL_MILLISECONDS = 5;
const MIB = 1024 * 1024;

export interface Figures {
  readonly messages: number;
  /** Milliseconds from PUBLISH to its delivery. */
  readonly median: number;
  readonly p99: number;
}

export interface AttackFigures {
  readonly idle: Figures;
  readonly attacked: Figures;
  /** How often the attacker did what it does. */
  readonly attempts: number;
  /** Growth of resident memory at its largest, in MiB. */
  readonly grownMib: number;
}

/** Round trips through the node until `ended` resolves; rejects when a message does not come. */
async function measure(
  [publisher, subscriber]: readonly [RawClient, RawClient],
  ended: Promise<unknown>,
): Promise<Figures> {
  const took: number[] = [];
  let goesOn = true;
  void ended.finally(() => {
    goesOn = false;
  });
  while (goesOn) {
    const sent = performance.now();
    publisher.publish('served', 'x');
    await subscriber.next('publish');
    took.push(performance.now() - sent);
    await pause(INTERVAL_MILLISECONDS);
  }
  took.sort((a, b) => a - b);
  const at = (share: number): number => Math.round((took[Math.floor(took.length * share)] ?? 0) * 100) / 100;
  return { messages: took.length, median: at(0.5), p99: at(0.99) };
}

/** Attacks the node for so many seconds while it serves two clients. */
export async function attack(edge: EdgeProcess, name: string, seconds: number): Promise<AttackFigures> {
  const clients = [await RawClient.connect(edge.tcp), await RawClient.connect(edge.tcp)] as const;
  await clients[1].subscribe('served');
  await measure(clients, pause(500));
  const idle = await measure(clients, pause(2_000));
  const before = edge.residentBytes();
  let largest = before;
  const watching = setInterval(() => {
    largest = Math.max(largest, edge.residentBytes());
  }, 50);
  const attempts = run(edge, name, seconds);
  const attacked = await measure(clients, attempts);
  clearInterval(watching);
  await Promise.all(clients.map((client) => client.end()));
  return { idle, attacked, attempts: await attempts, grownMib: Math.round((largest - before) / MIB) };
}

async function run(edge: EdgeProcess, name: string, seconds: number): Promise<number> {
  const args = ['--import', 'tsx', attacker, name, String(edge.tcp), String(seconds)];
  const child: ChildProcess = spawn(...endsWithParent(process.execPath, args), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout?.on('data', (chunk) => {
    output += chunk;
  });
  await once(child, 'close');
  return Number(output);
}
