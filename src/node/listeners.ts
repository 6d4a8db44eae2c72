/**
 * What a node serves MQTT on: TCP and WebSocket, plain and TLS, and a Unix socket, as the configuration says. server.ts opens them last, when everything
 * behind them works, and closes them first.
 */
import cluster from 'node:cluster';
import { BlockList } from 'node:net';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/config.ts';
import type { Counters } from '../counters.ts';
import { Arrivals } from '../transport/arrivals.ts';
import type { Accept, Admission, Listener, ListenOptions, TlsMaterial, TlsOptions } from '../transport/listener.ts';
import { listenTcp } from '../transport/tcp.ts';
import { listenUnix } from '../transport/unix.ts';
import { listenWebSocket } from '../transport/ws.ts';
import { tellArrivalFailures } from './arrival-failures.ts';
import { openTlsFiles, type TlsFiles } from './tls-files.ts';

/** WebSocket frames may carry several packets, up to this much beside the largest one. */
const FRAME_ALLOWANCE_BYTES = 64 * 1024;

export interface OpenListenersOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly counters: Counters;
  readonly admission: Admission;
  readonly accept: Accept;
  /** Called with each that is bound: they have to be closed even if a later one can not be opened. */
  readonly opened: (listener: Listener) => void;
}

/**
 * Returns what ends all that the listeners need besides: connections that have not come to speak MQTT are closed, files are not looked at any more.
 * @throws errors of ports that cannot be bound and of files that cannot be used
 */
export async function openListeners(options: OpenListenersOptions): Promise<() => void> {
  const { clock, config, counters, log } = options;
  const arrivals = new Arrivals({
    clock,
    maximum: config.limits.maxArrivals,
    timeoutMilliseconds: config.limits.connectTimeoutSeconds * 1000,
    failed: tellArrivalFailures(log, counters, clock),
  });
  const tlsListeners: Listener[] = [];
  const tls = openTls(options, (material) => {
    for (const { useMaterial } of tlsListeners) useMaterial?.(material);
  });
  const end = (): void => {
    arrivals.end();
    tls?.close();
  };
  try {
    await open(options, arrivals, tls, tlsListeners);
    return end;
  } catch (error) {
    end();
    throw error;
  }
}

async function open(
  { accept, admission, config, opened }: OpenListenersOptions,
  arrivals: Arrivals,
  tls: OpenedTls | undefined,
  tlsListeners: Listener[],
): Promise<void> {
  const { limits, mqtt } = config;
  const { host } = mqtt.tcp;
  const trusted = blockList(mqtt.proxyProtocol.trusted);
  const base: Omit<ListenOptions, 'port'> = { host, backlog: limits.backlog, admission, arrivals, trusted };
  const { mode, path } = mqtt.unix;
  if (path !== '')
    opened(await listenUnix({ ...base, path, mode: Number.parseInt(mode, 8), isShared: cluster.isWorker }, accept));
  const frames = { path: mqtt.ws.path, maximumFrameBytes: limits.maxPacketBytes + FRAME_ALLOWANCE_BYTES };
  if (mqtt.tcp.port !== 0) opened(await listenTcp({ ...base, port: mqtt.tcp.port }, accept));
  if (mqtt.ws.port !== 0) opened(await listenWebSocket({ ...base, ...frames, port: mqtt.ws.port }, accept));
  if (tls === undefined) return;
  const add = (listener: Listener): void => {
    tlsListeners.push(listener);
    // The files may have changed while it was opened.
    listener.useMaterial?.(tls.material());
    opened(listener);
  };
  const options = tls.options();
  if (mqtt.tls.port !== 0) add(await listenTcp({ ...base, port: mqtt.tls.port, tls: options }, accept));
  if (mqtt.wss.port !== 0)
    add(await listenWebSocket({ ...base, ...frames, port: mqtt.wss.port, tls: options }, accept));
}

interface OpenedTls extends TlsFiles {
  readonly options: () => TlsOptions;
}

/** Undefined when no listener needs it. */
function openTls(
  { clock, config: { mqtt, tls: files }, log }: OpenListenersOptions,
  use: (material: TlsMaterial) => void,
): OpenedTls | undefined {
  if (mqtt.tls.port === 0 && mqtt.wss.port === 0) return undefined;
  const opened = openTlsFiles({
    files,
    clock,
    changed: (material, facts) => {
      use(material);
      log.info({ event: 'tls.changed', ...facts }, 'The TLS files were read again');
    },
    refused: (err) =>
      log.error({ event: 'tls.refused', err }, 'The changed TLS files cannot be used: the old ones stay in use'),
  });
  const { clientCertificate, minVersion } = files;
  return { ...opened, options: () => ({ material: opened.material(), minVersion, clientCertificate }) };
}

/** Undefined when empty. */
function blockList(blocks: readonly string[]): BlockList | undefined {
  if (blocks.length === 0) return undefined;
  const list = new BlockList();
  for (const block of blocks) {
    const [address = '', length] = block.split('/');
    const family = address.includes(':') ? 'ipv6' : 'ipv4';
    if (length === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(length), family);
  }
  return list;
}
