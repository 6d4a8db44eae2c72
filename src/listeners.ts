/**
 * The ports that a node serves MQTT on: TCP and WebSocket, plain and TLS, as the configuration says. server.ts opens them last, when
 * everything behind them works, and closes them first.
 */
import { readFileSync } from 'node:fs';
import type { Config } from './config/config.ts';
import type { Accept, Admission, Listener, TlsOptions } from './transport/listener.ts';
import { listenTcp } from './transport/tcp.ts';
import { listenWebSocket } from './transport/ws.ts';

/** WebSocket frames may carry several packets, up to this much beside the largest one. */
const FRAME_ALLOWANCE_BYTES = 64 * 1024;

export interface OpenListenersOptions {
  readonly config: Config;
  readonly admission: Admission;
  readonly accept: Accept;
  /** Called with each that is bound: they have to be closed even if a later one can not be opened. */
  readonly opened: (listener: Listener) => void;
}

/** @throws errors of ports that cannot be bound and of files that cannot be read */
export async function openListeners({ accept, admission, config, opened }: OpenListenersOptions): Promise<void> {
  const { limits, mqtt } = config;
  const base = { host: mqtt.tcp.host, backlog: limits.backlog, admission };
  const frames = { path: mqtt.ws.path, maximumFrameBytes: limits.maxPacketBytes + FRAME_ALLOWANCE_BYTES };
  const tls = mqtt.tls.port !== 0 || mqtt.wss.port !== 0 ? readTls(config.tls) : undefined;
  if (mqtt.tcp.port !== 0) opened(await listenTcp({ ...base, port: mqtt.tcp.port }, accept));
  if (mqtt.ws.port !== 0) opened(await listenWebSocket({ ...base, ...frames, port: mqtt.ws.port }, accept));
  if (tls === undefined) return;
  if (mqtt.tls.port !== 0) opened(await listenTcp({ ...base, port: mqtt.tls.port, tls }, accept));
  if (mqtt.wss.port !== 0) opened(await listenWebSocket({ ...base, ...frames, port: mqtt.wss.port, tls }, accept));
}

function readTls(files: Config['tls']): TlsOptions {
  const cert = readFileSync(files.cert, 'utf8');
  const key = readFileSync(files.key, 'utf8');
  return files.ca === '' ? { cert, key } : { cert, key, ca: readFileSync(files.ca, 'utf8') };
}
