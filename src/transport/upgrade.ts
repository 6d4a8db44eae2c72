/**
 * The HTTP request that turns a connection into a WebSocket, and nothing else of HTTP: no other request is served, headers are small, and
 * a connection is never kept for a second request. ws.ts goes on with what was upgraded.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Arrival, Arrivals } from './arrivals.ts';

export const SUBPROTOCOLS: readonly string[] = ['mqtt', 'mqttv3.1'];
/** Room for cookies and tokens of web pages and gateways. */
const MAXIMUM_HEADER_BYTES = 8 * 1024;

export interface UpgradeStageOptions {
  /** Path of the request. */
  readonly path: string;
  readonly arrivals: Arrivals;
  /** The request is one of ours and is to be answered. */
  readonly upgraded: (request: IncomingMessage, head: Buffer, arrival: Arrival) => void;
}

/** Returns what reads the request of a connection. */
export function makeUpgradeStage({ arrivals, path, upgraded }: UpgradeStageOptions): (stream: Duplex) => void {
  const http = createServer({ noDelay: true, maxHeaderSize: MAXIMUM_HEADER_BYTES }, (request, response) => {
    arrivals.of(request.socket)?.note('upgrade', 'no request for an upgrade');
    answer(response);
  });
  http.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    // A peer that resets during the handshake ends its own socket only.
    stream.on('error', () => stream.destroy());
    const arrival = arrivals.of(stream);
    const status = refusal(request, path);
    if (arrival !== undefined && status === undefined) return upgraded(request, head, arrival);
    arrival?.note('upgrade', status ?? 'no arrival');
    refuse(stream, status ?? '500 Internal Server Error');
  });
  http.on('clientError', (error: NodeJS.ErrnoException, stream: Duplex) => {
    if (error.code !== 'ECONNRESET') arrivals.of(stream)?.note('upgrade', error.code ?? error.message);
    if (stream.writable) refuse(stream, '400 Bad Request');
    else stream.destroy();
  });
  return (stream) => void http.emit('connection', stream);
}

function answer(response: ServerResponse): void {
  response.writeHead(426, { connection: 'close' }).end('This port speaks MQTT over WebSocket.\n');
}

/** HTTP status line with which an upgrade is refused, undefined when it is fine. */
function refusal({ headers, url = '/' }: IncomingMessage, path: string): string | undefined {
  if (url.split('?', 1)[0] !== path) return '404 Not Found';
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  // [MQTT5 6.0.0-3] a client that does not offer the subprotocol does not mean to speak MQTT
  return SUBPROTOCOLS.some((protocol) => offered.includes(protocol)) ? undefined : '400 Bad Request';
}

function refuse(stream: Duplex, status: string): void {
  stream.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
