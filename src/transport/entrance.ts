/**
 * The way into every listener: a server of plain sockets that reads the PROXY header of trusted balancers and asks for admission, before
 * any TLS or HTTP work. tcp.ts, tls.ts and ws.ts go on with what it lets in.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { addressOf, isListed } from './address.ts';
import type { Arrival } from './arrivals.ts';
import type { Admission, ListenOptions } from './listener.ts';
import { applyProxyHeader } from './proxy-protocol.ts';

export interface EntranceOptions extends ListenOptions {
  /** Name of the listener. */
  readonly name: string;
  /** HTTP answers a peer that has ended its side. */
  readonly allowHalfOpen?: boolean;
}

/** For what has a handshake still before it. */
export function makeHandshakeEntrance(options: EntranceOptions, enter: (arrival: Arrival) => void): Server {
  return makeServer(options, (socket) => arrive(options, socket, enter));
}

/** For what speaks MQTT at once: `arrival` is there only behind a trusted balancer. */
export function makePlainEntrance(
  options: EntranceOptions,
  enter: (socket: Socket, arrival: Arrival | undefined) => void,
): Server {
  return makeServer(options, (socket) => {
    const address = addressOf(socket);
    if (isTrusted(options, address)) return arrive(options, socket, (arrival) => enter(socket, arrival));
    if (admitSocket(options.admission, socket, address)) enter(socket, undefined);
  });
}

function makeServer({ allowHalfOpen = false }: EntranceOptions, onSocket: (socket: Socket) => void): Server {
  return createServer({ noDelay: true, allowHalfOpen }, onSocket);
}

function isTrusted({ trusted }: EntranceOptions, address: string): boolean {
  return trusted !== undefined && isListed(trusted, address);
}

function admitSocket(admission: Admission, socket: Socket, address: string): boolean {
  if (!admission.admit(address)) {
    socket.destroy();
    return false;
  }
  // Comes once only; `once` would keep more in memory for as long as the connection lives.
  socket.on('close', () => admission.left(address));
  return true;
}

function arrive(options: EntranceOptions, socket: Socket, enter: (arrival: Arrival) => void): void {
  const { admission, arrivals, name } = options;
  const arrival = arrivals.begin(socket, name);
  const admit = (): void => {
    if (!admission.admit(arrival.address)) return arrivals.dismiss(arrival);
    arrival.admission = admission;
    enter(arrival);
  };
  if (isTrusted(options, arrival.address)) applyProxyHeader(arrival, admit);
  else admit();
}
