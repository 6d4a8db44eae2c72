/** Who is at the other end of a socket: what the kernel, the TLS handshake and a trusted balancer say. Asked when somebody wants to know. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { addressOf } from './address.ts';
import type { Arrival } from './arrivals.ts';
import { certificateOf } from './certificate.ts';
import type { Peer, PeerCertificate } from './listener.ts';

export class SocketPeer implements Peer {
  readonly address: string;
  readonly port: number;
  readonly listener: string;
  readonly #socket: Socket;
  readonly #arrival: Arrival | undefined;

  constructor(socket: Socket, listener: string, arrival: Arrival | undefined) {
    this.address = arrival?.address ?? addressOf(socket);
    this.port = arrival?.port ?? socket.remotePort ?? 0;
    this.listener = listener;
    this.#socket = socket;
    this.#arrival = arrival;
  }

  /** What a client has proved to us goes before what a balancer says. Not an own property: a log line has no use for it. */
  get certificate(): PeerCertificate | undefined {
    const own = this.#socket instanceof TLSSocket ? certificateOf(this.#socket) : undefined;
    return own ?? this.#arrival?.balancerCertificate;
  }
}
