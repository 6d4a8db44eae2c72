/** Streams over TCP, plain or TLS: the listener and the Transport on a socket. */
import type { ListenOptions as NetListenOptions, Server, Socket } from 'node:net';
import type { Arrival } from './arrivals.ts';
import { makeHandshakeEntrance, makePlainEntrance } from './entrance.ts';
import {
  type Accept,
  END_GRACE_MILLISECONDS,
  type Listener,
  type ListenOptions,
  type Peer,
  type TlsOptions,
  type Transport,
  type TransportEvents,
} from './listener.ts';
import { SocketPeer } from './peer.ts';
import { makeTlsStage } from './tls.ts';

/** The protocol's name in ALPN. */
const ALPN = ['mqtt'];

export class SocketTransport implements Transport {
  readonly openingMilliseconds: number;
  readonly #socket: Socket;
  readonly #listener: string;
  readonly #arrival: Arrival | undefined;
  #cause: Error | undefined;

  /** `arrival`: of a socket that was not MQTT from its first byte on. */
  constructor(socket: Socket, listener: string, arrival?: Arrival, openingMilliseconds = 0) {
    this.#socket = socket;
    this.#listener = listener;
    this.#arrival = arrival;
    this.openingMilliseconds = openingMilliseconds;
  }

  /** Made when asked for only: the kernel is asked, and nobody needs it on the way of a message. */
  get peer(): Peer {
    return new SocketPeer(this.#socket, this.#listener, this.#arrival);
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  get isBlocked(): boolean {
    return this.#socket.writableNeedDrain;
  }

  start(events: TransportEvents): void {
    const socket = this.#socket;
    socket.on('data', (chunk: Buffer) => events.data(chunk));
    socket.on('drain', () => events.drain());
    socket.on('error', (error) => {
      this.#cause = error;
    });
    socket.on('close', () => events.closed(this.#cause));
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    const socket = this.#socket;
    socket.end();
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), END_GRACE_MILLISECONDS).unref();
    socket.once('close', () => clearTimeout(timer));
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Listens for TCP or, with `options.tls`, TLS. Rejects when the port cannot be bound. */
export function listenTcp(options: ListenOptions, accept: Accept): Promise<Listener> {
  return options.tls === undefined ? listenPlain(options, accept) : listenTls(options, options.tls, accept);
}

async function listenPlain(options: ListenOptions, accept: Accept): Promise<Listener> {
  const name = 'tcp';
  const { arrivals } = options;
  const server = makePlainEntrance({ ...options, name }, (socket, arrival) => {
    const opening = arrival === undefined ? 0 : arrivals.arrived(arrival);
    accept(new SocketTransport(socket, name, arrival, opening));
  });
  await listen(server, options);
  return { name, port: boundPort(server), close: () => closeServer(server) };
}

async function listenTls(options: ListenOptions, tls: TlsOptions, accept: Accept): Promise<Listener> {
  const name = 'tls';
  const { arrivals } = options;
  const stage = makeTlsStage({
    tls,
    alpn: ALPN,
    arrivals,
    secured: (socket, arrival) => accept(new SocketTransport(socket, name, arrival, arrivals.arrived(arrival))),
  });
  const server = makeHandshakeEntrance({ ...options, name }, (arrival) => stage.begin(arrival));
  await listen(server, options);
  return { name, port: boundPort(server), useMaterial: stage.useMaterial, close: () => closeServer(server) };
}

/** Binds; also used by ws.ts. */
export function listen(server: Server, { backlog, host, port }: ListenOptions): Promise<void> {
  return bind(server, { host, port, backlog });
}

/** Resolves when the server listens, rejects when it cannot. */
export function bind(server: Server, where: NetListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

export function boundPort(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Stops accepting without waiting for accepted sockets. */
export async function closeServer(server: Server): Promise<void> {
  server.close();
}
