/** Starts real nats-servers for tests, on loopback, each with its own ports and folder. Clusters: nats-cluster.ts. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { natsServerBinary } from './nats-binary.ts';
import { type NatsLaunch, NatsServerProcess } from './nats-process.ts';
import { freePort } from './ports.ts';

export type { NatsServerProcess } from './nats-process.ts';

const START_ATTEMPTS = 3;

export interface NatsServerOptions {
  /** Default true. */
  readonly jetstream?: boolean;
  /** Appended to the configuration file as it is. */
  readonly extraConfig?: string;
  /** Client port; default a free one. */
  readonly port?: number;
  /** Default `nats-<port>`. */
  readonly name?: string;
  /** Makes the server a member of a cluster; `startNatsCluster` fills this in. */
  readonly cluster?: NatsClusterMembership;
  /** JetStream's folder, kept at the end; default a temporary one, removed by {@link NatsServerProcess.stop}. */
  readonly storeDir?: string;
}

export interface NatsClusterMembership {
  readonly name: string;
  /** Where this server listens for routes. */
  readonly port: number;
  /** Route ports of all members; its own may be among them. */
  readonly routePorts: readonly number[];
  /** Nobody is told of a way to this server but those who know one. Default false. */
  readonly isHidden?: boolean;
}

/** Starts a nats-server on 127.0.0.1 and resolves once it greets clients. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServerProcess> {
  const binary = await natsServerBinary();
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const launch = {
      binary,
      port,
      monitorPort: await freePort(),
      folder: mkdtempSync(join(tmpdir(), 'supermq-nats-')),
    };
    writeFileSync(join(launch.folder, 'nats.conf'), configuration(launch, options));
    const server = new NatsServerProcess(launch);
    try {
      await server.start();
      return server;
    } catch (cause) {
      const lostPort = server.log().includes('address already in use');
      await server.stop();
      // Between the kernel naming a free port and the server taking it, another process may have been faster.
      const mayRetry = lostPort && options.port === undefined && options.cluster === undefined;
      if (!mayRetry || attempt === START_ATTEMPTS) throw cause;
    }
  }
}

function configuration({ port, monitorPort, folder }: NatsLaunch, options: NatsServerOptions): string {
  const {
    jetstream = true,
    name = `nats-${port}`,
    storeDir = join(folder, 'store'),
    cluster,
    extraConfig = '',
  } = options;
  const lines = [`listen: "127.0.0.1:${port}"`, `http: "127.0.0.1:${monitorPort}"`, `server_name: "${name}"`];
  if (jetstream) lines.push(`jetstream { store_dir: ${JSON.stringify(storeDir)} }`);
  if (cluster !== undefined) {
    const routes = cluster.routePorts.map((routePort) => `"nats://127.0.0.1:${routePort}"`);
    // Port 1: nobody listens there.
    const advertise = cluster.isHidden === true ? ', advertise: "127.0.0.1:1"' : '';
    lines.push(
      `cluster { name: "${cluster.name}", listen: "127.0.0.1:${cluster.port}", routes: [${routes.join(', ')}]${advertise} }`,
    );
  }
  return [...lines, extraConfig, ''].join('\n');
}
