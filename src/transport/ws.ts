/**
 * Streams over WebSocket, plain or TLS: the payloads of binary frames joined, whatever the frame borders.
 * The subprotocol is `mqtt`; MQTT 3.1 clients may ask for `mqttv3.1`. [MQTT5 6.0.0-1] to [MQTT5 6.0.0-4]
 */
import { type WebSocket, WebSocketServer } from 'ws';
import type { Arrival } from './arrivals.ts';
import { makeHandshakeEntrance } from './entrance.ts';
import {
  type Accept,
  END_GRACE_MILLISECONDS,
  type Listener,
  type ListenOptions,
  type Peer,
  type Transport,
  type TransportEvents,
} from './listener.ts';
import { SocketPeer } from './peer.ts';
import { boundPort, closeServer, listen } from './tcp.ts';
import { makeTlsStage } from './tls.ts';
import { makeUpgradeStage, SUBPROTOCOLS } from './upgrade.ts';

/** What the upgrade is spoken in, as ALPN names it. */
const ALPN = ['http/1.1'];
/** WebSocket close codes. */
const NORMAL_CLOSURE = 1000;
const UNSUPPORTED_DATA = 1003;

export interface WebSocketListenOptions extends ListenOptions {
  /** Path of the upgrade request, `/mqtt` by custom. */
  readonly path: string;
  /** Largest frame in bytes. */
  readonly maximumFrameBytes: number;
}

class WebSocketTransport implements Transport {
  readonly peer: Peer;
  readonly openingMilliseconds: number;
  readonly #socket: WebSocket;
  #events: TransportEvents | undefined;
  #cause: Error | undefined;
  #hasWaited = false;

  constructor(socket: WebSocket, peer: Peer, openingMilliseconds: number) {
    this.#socket = socket;
    this.peer = peer;
    this.openingMilliseconds = openingMilliseconds;
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  get isBlocked(): boolean {
    return this.#hasWaited;
  }

  start(events: TransportEvents): void {
    this.#events = events;
    const socket = this.#socket;
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) events.data(data);
      else this.#refuseText();
    });
    socket.on('error', (error) => {
      this.#cause = error;
    });
    socket.on('close', () => events.closed(this.#cause));
  }

  write(bytes: Buffer): void {
    this.#socket.send(bytes, this.#written);
    if (this.#socket.bufferedAmount > 0) this.#hasWaited = true;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#close(NORMAL_CLOSURE);
  }

  destroy(): void {
    this.#socket.terminate();
  }

  readonly #written = (error?: Error | null): void => {
    if (error || !this.#hasWaited || this.#socket.bufferedAmount > 0) return;
    this.#hasWaited = false;
    this.#events?.drain();
  };

  /** What comes behind the text is nobody's any more. [MQTT5 6.0.0-1] [MQTT311 6.0.0-1] */
  #refuseText(): void {
    this.#cause = new Error('text frame');
    this.#socket.removeAllListeners('message');
    this.#close(UNSUPPORTED_DATA, 'binary frames only');
  }

  /** A peer that does not answer the close is cut. */
  #close(code: number, reason?: string): void {
    const socket = this.#socket;
    socket.resume();
    socket.close(code, reason);
    const timer = setTimeout(() => socket.terminate(), END_GRACE_MILLISECONDS).unref();
    socket.once('close', () => clearTimeout(timer));
  }
}

/** Listens for WebSocket upgrades. Rejects when the port cannot be bound. */
export async function listenWebSocket(options: WebSocketListenOptions, accept: Accept): Promise<Listener> {
  const { arrivals, tls } = options;
  const name = tls === undefined ? 'ws' : 'wss';
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: options.maximumFrameBytes,
    handleProtocols: (offered) => SUBPROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
  });
  const upgrade = makeUpgradeStage({
    path: options.path,
    arrivals,
    upgraded: (request, head, arrival) =>
      sockets.handleUpgrade(request, request.socket, head, (webSocket) => {
        const peer = new SocketPeer(request.socket, name, arrival);
        accept(new WebSocketTransport(webSocket, peer, arrivals.arrived(arrival)));
      }),
  });
  const stage =
    tls === undefined ? undefined : makeTlsStage({ tls, alpn: ALPN, arrivals, secured: (socket) => upgrade(socket) });
  const begin = (arrival: Arrival): void => (stage === undefined ? upgrade(arrival.socket) : stage.begin(arrival));
  const server = makeHandshakeEntrance({ ...options, name, allowHalfOpen: stage === undefined }, begin);
  await listen(server, options);
  const close = (): Promise<void> => closeServer(server);
  const listener = { name, port: boundPort(server), close };
  return stage === undefined ? listener : { ...listener, useMaterial: stage.useMaterial };
}
