/** The servers that the benches compare, as far as they are installed: how each is started, and which version it is. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { natsServerBinary } from '../support/nats-binary.ts';
import { freePort } from '../support/ports.ts';
import { BROKER_CORE, listening, OTHER_CORE, PinnedProcess } from './pinned-process.ts';
import { firstMatch, natsVersion, packageVersion, supermqVersion } from './versions.ts';

export interface RunningPeer {
  readonly port: number;
  readonly pid: number;
  /** The nats-server behind an edge, whose CPU time belongs to the whole. */
  readonly natsPid?: number;
  /** Ends it and removes what it stored. */
  stop(): Promise<void>;
}

export interface Peer {
  readonly name: string;
  readonly version: string;
  start(): Promise<RunningPeer>;
}

interface Started {
  readonly port: number;
  readonly broker: PinnedProcess;
  readonly nats?: PinnedProcess;
}

const root = fileURLToPath(new URL('../..', import.meta.url));

/** supermq on NATS, mosquitto, aedes, and nats-server with its own MQTT; one that is not installed is left out. */
export async function installedPeers(): Promise<Peer[]> {
  const binary = await natsServerBinary();
  const mosquitto = ['mosquitto', '/usr/sbin/mosquitto'].find((path) => spawnSync(path, ['-h']).error === undefined);
  const aedes = join(root, 'node_modules/aedes/package.json');
  return [
    peer('supermq', supermqVersion(), (folder) => startEdge(binary, folder)),
    ...(mosquitto === undefined ? [] : [mosquittoPeer(mosquitto)]),
    ...(existsSync(aedes) ? [peer('aedes', packageVersion(aedes), startAedes)] : []),
    peer('nats-server mqtt', natsVersion(binary), (folder) => startNatsMqtt(binary, folder)),
  ];
}

function mosquittoPeer(path: string): Peer {
  const version = firstMatch(path, ['-h'], /version ([\d.]+)/) ?? 'unknown';
  return peer('mosquitto', version, (folder) => startMosquitto(path, folder));
}

/** Gives every start a folder of its own, and waits until it listens. */
function peer(name: string, version: string, start: (folder: string) => Promise<Started>): Peer {
  const run = async (): Promise<RunningPeer> => {
    const folder = mkdtempSync(join(tmpdir(), 'supermq-bench-'));
    const { port, broker, nats } = await start(folder);
    const stop = async (): Promise<void> => {
      await broker.kill();
      await nats?.kill();
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    };
    try {
      await listening(port);
    } catch (cause) {
      await stop();
      throw cause;
    }
    return { port, pid: broker.pid, stop, ...(nats === undefined ? {} : { natsPid: nats.pid }) };
  };
  return { name, version, start: run };
}

async function startEdge(binary: string, folder: string): Promise<Started> {
  const [natsPort, port] = [await freePort(), await freePort()];
  const natsArgs = ['-a', '127.0.0.1', '-p', String(natsPort), '-js', '-sd', join(folder, 'edge')];
  const nats = new PinnedProcess(OTHER_CORE, binary, natsArgs);
  await listening(natsPort);
  const env = {
    SUPERMQ_MQTT_TCP_HOST: '127.0.0.1',
    SUPERMQ_MQTT_TCP_PORT: String(port),
    SUPERMQ_MQTT_WS_PORT: '0',
    SUPERMQ_HTTP_PORT: '0',
    SUPERMQ_NATS_SERVERS: `nats://127.0.0.1:${natsPort}`,
  };
  // As `npm start` and the image have it.
  const args = ['--min-semi-space-size=8', join(root, 'dist/main.js')];
  return { port, nats, broker: new PinnedProcess(BROKER_CORE, process.execPath, args, env) };
}

async function startMosquitto(path: string, folder: string): Promise<Started> {
  const port = await freePort();
  const file = join(folder, 'mosquitto.conf');
  writeFileSync(file, `listener ${port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n`);
  return { port, broker: new PinnedProcess(BROKER_CORE, path, ['-c', file]) };
}

async function startAedes(): Promise<Started> {
  const port = await freePort();
  const script = fileURLToPath(new URL('aedes-broker.ts', import.meta.url));
  const args = ['--import', 'tsx', script, String(port)];
  return { port, broker: new PinnedProcess(BROKER_CORE, process.execPath, args) };
}

async function startNatsMqtt(binary: string, folder: string): Promise<Started> {
  const [port, client] = [await freePort(), await freePort()];
  const file = join(folder, 'nats.conf');
  const lines = [
    'server_name: bench',
    `listen: 127.0.0.1:${client}`,
    `jetstream { store_dir: "${join(folder, 'js')}" }`,
    `mqtt { host: 127.0.0.1, port: ${port} }`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  return { port, broker: new PinnedProcess(BROKER_CORE, binary, ['-c', file]) };
}
