/** Streams over TCP, plain or TLS: the listener and the Transport on a socket. */
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, TLSSocket } from 'node:tls';
import { certificateOf } from './certificate.ts';
import {
  type Accept,
  END_GRACE_MILLISECONDS,
  type Listener,
  type ListenOptions,
  type Peer,
  type Transport,
  type TransportEvents,
} from './listener.ts';

/** A TLS peer that does not finish its handshake is dropped after this. */
const HANDSHAKE_TIMEOUT_MILLISECONDS = 10_000;

class SocketTransport implements Transport {
  readonly #socket: Socket;
  readonly #listener: string;
  #cause: Error | undefined;

  constructor(socket: Socket, listener: string) {
    this.#socket = socket;
    this.#listener = listener;
  }

  /** Read when asked for only: the kernel is asked, and nobody needs it on the way of a message. */
  get peer(): Peer {
    const { remoteAddress, remotePort } = this.#socket;
    const certificate = this.#socket instanceof TLSSocket ? certificateOf(this.#socket) : undefined;
    const peer = { address: remoteAddress ?? '', port: remotePort ?? 0, listener: this.#listener };
    return certificate === undefined ? peer : { ...peer, certificate };
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
export async function listenTcp(options: ListenOptions, accept: Accept): Promise<Listener> {
  const name = options.tls === undefined ? 'tcp' : 'tls';
  const server = makeServer(options, (socket) => accept(new SocketTransport(socket, name)));
  await listen(server, options);
  return { name, port: boundPort(server), close: () => closeServer(server) };
}

function makeServer(options: ListenOptions, onSocket: (socket: Socket) => void): Server {
  const refuseIfFull = (socket: Socket): boolean => {
    if (options.acceptsMore()) return false;
    socket.destroy();
    return true;
  };
  if (options.tls === undefined) {
    return createServer({ noDelay: true }, (socket) => {
      if (!refuseIfFull(socket)) onSocket(socket);
    });
  }
  const { ca, cert, key } = options.tls;
  const client = ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: true };
  const server = createTlsServer(
    { cert, key, ...client, noDelay: true, handshakeTimeout: HANDSHAKE_TIMEOUT_MILLISECONDS },
    (socket) => {
      if (!refuseIfFull(socket)) onSocket(socket);
    },
  );
  // A failed handshake ends that socket and concerns nobody else.
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}

/** Binds; also used by ws.ts for its HTTP server. */
export function listen(server: Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: options.host, port: options.port, backlog: options.backlog }, () => {
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
