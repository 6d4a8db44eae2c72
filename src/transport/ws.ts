/**
 * Streams over WebSocket, plain or TLS: the payloads of binary frames joined, whatever the frame borders.
 * The subprotocol is `mqtt`; MQTT 3.1 clients may ask for `mqttv3.1`. [MQTT5 6.0.0-1] to [MQTT5 6.0.0-4]
 */
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import {
  type Accept,
  END_GRACE_MILLISECONDS,
  type Listener,
  type ListenOptions,
  type Peer,
  type Transport,
  type TransportEvents,
} from './listener.ts';
import { admitted, boundPort, closeServer, listen } from './tcp.ts';

const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'];
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
  readonly #socket: WebSocket;
  #events: TransportEvents | undefined;
  #cause: Error | undefined;
  #hasWaited = false;

  constructor(socket: WebSocket, peer: Peer) {
    this.#socket = socket;
    this.peer = peer;
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
  const name = options.tls === undefined ? 'ws' : 'wss';
  const http = makeHttpServer(options);
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: options.maximumFrameBytes,
    handleProtocols: (offered) => SUBPROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
  });
  http.on('upgrade', (request, socket, head) => {
    // A peer that resets during the handshake ends its own socket only.
    socket.on('error', () => socket.destroy());
    const status = refusal(request, options);
    if (status !== undefined) return refuse(socket, status);
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const { remoteAddress, remotePort } = request.socket;
      const peer = { address: remoteAddress ?? '', port: remotePort ?? 0, listener: name };
      accept(new WebSocketTransport(webSocket, peer));
    });
  });
  const server = createServer(
    { noDelay: true },
    admitted(options.admission, (socket) => http.emit('connection', socket)),
  );
  // Its timeouts of a request begin with that.
  server.once('listening', () => http.emit('listening'));
  await listen(server, options);
  const close = async (): Promise<void> => {
    http.close();
    await closeServer(server);
  };
  return { name, port: boundPort(server), close };
}

function makeHttpServer(options: WebSocketListenOptions): Server {
  const answer = (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(426, { connection: 'close' }).end('This port speaks MQTT over WebSocket.\n');
  };
  if (options.tls === undefined) return createHttpServer({ noDelay: true }, answer);
  const { ca, cert, key } = options.tls;
  const client = ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: true };
  return createHttpsServer({ cert, key, ...client, noDelay: true }, answer);
}

/** HTTP status line with which an upgrade is refused, undefined when it is fine. */
function refusal(request: IncomingMessage, options: WebSocketListenOptions): string | undefined {
  if ((request.url ?? '/').split('?', 1)[0] !== options.path) return '404 Not Found';
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  // [MQTT5 6.0.0-3] a client that does not offer the subprotocol does not mean to speak MQTT
  return SUBPROTOCOLS.some((protocol) => offered.includes(protocol)) ? undefined : '400 Bad Request';
}

function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
