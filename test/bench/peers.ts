/** The servers that the benches compare, each pinned to core 0; the nats-server behind the edge to core 1. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { natsServerBinary } from '../support/nats-binary.ts';
import { poll } from '../support/poll.ts';
import { freePort } from '../support/ports.ts';

export interface Peer {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  /** The nats-server behind an edge, whose CPU time belongs to the whole. */
  readonly natsPid?: number;
}

const BROKER_CORE = 0;
const OTHER_CORE = 1;
const children: ChildProcess[] = [];
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Starts supermq on NATS, mosquitto if it is installed, aedes, and nats-server with its own MQTT. All end with this process. */
export async function startPeers(): Promise<Peer[]> {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-bench-'));
  const binary = await natsServerBinary();
  const peers = [
    await startEdge(binary, folder),
    ...(await startMosquitto(folder)),
    await startAedes(),
    await startNatsMqtt(binary, folder),
  ];
  for (const { port } of peers) await listening(port);
  return peers;
}

async function startEdge(binary: string, folder: string): Promise<Peer> {
  const natsPort = await freePort();
  const natsPid = start(OTHER_CORE, binary, [
    '-a',
    '127.0.0.1',
    '-p',
    String(natsPort),
    '-js',
    '-sd',
    join(folder, 'edge'),
  ]);
  await listening(natsPort);
  const port = await freePort();
  const env = {
    SUPERMQ_MQTT_TCP_HOST: '127.0.0.1',
    SUPERMQ_MQTT_TCP_PORT: String(port),
    SUPERMQ_MQTT_WS_PORT: '0',
    SUPERMQ_HTTP_PORT: '0',
    SUPERMQ_NATS_SERVERS: `nats://127.0.0.1:${natsPort}`,
  };
  const pid = start(
    BROKER_CORE,
    process.execPath,
    [fileURLToPath(new URL('../../dist/main.js', import.meta.url))],
    env,
  );
  return { name: 'supermq', port, pid, natsPid };
}

async function startMosquitto(folder: string): Promise<Peer[]> {
  if (spawnSync('mosquitto', ['-h']).error !== undefined) return [];
  const port = await freePort();
  const file = join(folder, 'mosquitto.conf');
  writeFileSync(file, `listener ${port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n`);
  return [{ name: 'mosquitto', port, pid: start(BROKER_CORE, 'mosquitto', ['-c', file]) }];
}

async function startAedes(): Promise<Peer> {
  const port = await freePort();
  const script = fileURLToPath(new URL('aedes-broker.ts', import.meta.url));
  return { name: 'aedes', port, pid: start(BROKER_CORE, process.execPath, ['--import', 'tsx', script, String(port)]) };
}

async function startNatsMqtt(binary: string, folder: string): Promise<Peer> {
  const [port, client] = [await freePort(), await freePort()];
  const file = join(folder, 'nats.conf');
  const lines = [
    'server_name: bench',
    `listen: 127.0.0.1:${client}`,
    `jetstream { store_dir: "${join(folder, 'js')}" }`,
    `mqtt { host: 127.0.0.1, port: ${port} }`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  return { name: 'nats-server mqtt', port, pid: start(BROKER_CORE, binary, ['-c', file]) };
}

/** `taskset` becomes the program, so the pid is the program's. */
function start(core: number, command: string, args: readonly string[], env: Record<string, string> = {}): number {
  const child = spawn('taskset', ['-c', String(core), command, ...args], {
    env: { ...process.env, ...env },
    stdio: 'ignore',
  });
  children.push(child);
  return child.pid ?? 0;
}

function listening(port: number): Promise<void> {
  return poll(() => isListening(port), { what: `a listener on port ${port}`, timeoutMs: 15_000 });
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
