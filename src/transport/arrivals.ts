/**
 * Sockets from accept until their bytes are MQTT: PROXY header, admission, TLS handshake, WebSocket upgrade. All of that together has one
 * time, counted from accept and whatever the peer sends meanwhile, and a bound of sockets at once for the whole node. Plain TCP without
 * a PROXY header needs none of it and is never here.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { CancelTimer, Clock } from '../clock.ts';
import { addressOf } from './address.ts';
import type { Admission, PeerCertificate } from './listener.ts';

/** A socket that has had its time is noticed at most this much late. */
const SWEEP_MILLISECONDS = 250;

/** Why a socket never came to speak MQTT; left: the peer closed it. */
export type ArrivalFailureCause = 'proxyHeader' | 'tls' | 'upgrade' | 'timeout' | 'crowded' | 'left';

export interface ArrivalFailure {
  readonly cause: ArrivalFailureCause;
  /** What was wrong, for whoever looks into it. */
  readonly detail: string;
  readonly address: string;
  readonly listener: string;
}

export interface ArrivalsOptions {
  readonly clock: Clock;
  /** Sockets on their way at once. One more, and that which has been on its way for longest is closed. */
  readonly maximum: number;
  readonly timeoutMilliseconds: number;
  readonly failed: (failure: ArrivalFailure) => void;
}

/** One socket on its way. It stays behind the connection that it becomes. */
export class Arrival {
  readonly socket: Socket;
  readonly listener: string;
  readonly startedAt: number;
  /** Of the client: what the socket says, or what a trusted balancer says. */
  address: string;
  port: number;
  /** What a trusted balancer says of the client's certificate. */
  balancerCertificate: PeerCertificate | undefined;
  /** Set when the client was admitted: told when the socket closes. */
  admission: Admission | undefined;
  /** MQTT by now, or refused by somebody who has counted it: its end is no failure. */
  isSettled = false;
  failure: Pick<ArrivalFailure, 'cause' | 'detail'> | undefined;

  constructor(socket: Socket, listener: string, startedAt: number) {
    this.socket = socket;
    this.listener = listener;
    this.startedAt = startedAt;
    this.address = addressOf(socket);
    this.port = socket.remotePort ?? 0;
  }

  /** Closes the socket; what is said first counts. */
  fail(cause: ArrivalFailureCause, detail: string): void {
    this.note(cause, detail);
    this.socket.destroy();
  }

  /** Says why the socket is about to close; what is said first counts. */
  note(cause: ArrivalFailureCause, detail: string): void {
    this.failure ??= { cause, detail };
  }
}

export class Arrivals {
  readonly #options: ArrivalsOptions;
  /** The one that has been on its way for longest first. */
  readonly #pending = new Set<Arrival>();
  readonly #bySocket = new WeakMap<Duplex, Arrival>();
  readonly #stopSweep: CancelTimer;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
    this.#stopSweep = options.clock.every(SWEEP_MILLISECONDS, () => this.#sweep());
  }

  /** Sockets that are on their way. */
  get count(): number {
    return this.#pending.size;
  }

  begin(socket: Socket, listener: string): Arrival {
    const arrival = new Arrival(socket, listener, this.#options.clock.now());
    this.#pending.add(arrival);
    this.#bySocket.set(socket, arrival);
    // `close` follows, and says it all.
    socket.on('error', ignore);
    socket.on('close', () => this.#closed(arrival));
    if (this.#pending.size > this.#options.maximum) this.#closeOldest();
    return arrival;
  }

  /** What has become `stream`: the socket itself or TLS on it. Undefined when the socket is nobody's. */
  of(stream: Duplex): Arrival | undefined {
    return this.#bySocket.get(stream) ?? this.#bySocket.get(socketBelow(stream));
  }

  /** The bytes are MQTT from now on: returns how long it took. */
  arrived(arrival: Arrival): number {
    this.#settle(arrival);
    return this.#options.clock.now() - arrival.startedAt;
  }

  /** Refused by somebody who has counted it. */
  dismiss(arrival: Arrival): void {
    this.#settle(arrival);
    arrival.socket.destroy();
  }

  /** Closes all that are still on their way. */
  end(): void {
    this.#stopSweep();
    for (const arrival of this.#pending) this.dismiss(arrival);
  }

  #closed(arrival: Arrival): void {
    arrival.admission?.left(arrival.address);
    // What TLS has to say of the end comes behind the end of the socket.
    if (arrival.isSettled) return;
    this.#settle(arrival);
    setImmediate(() => this.#tell(arrival));
  }

  #settle(arrival: Arrival): void {
    arrival.isSettled = true;
    this.#pending.delete(arrival);
  }

  #tell({ address, admission, failure, listener }: Arrival): void {
    const { cause, detail } = failure ?? { cause: 'left', detail: 'the peer closed the connection' };
    // Looks at a port are no failures, nor what came when there were too many.
    if (cause !== 'left' && cause !== 'crowded') admission?.failed(address);
    this.#options.failed({ cause, detail, address, listener });
  }

  #sweep(): void {
    const latest = this.#options.clock.now() - this.#options.timeoutMilliseconds;
    for (const arrival of this.#pending) {
      if (arrival.startedAt > latest) return;
      this.#pending.delete(arrival);
      arrival.fail('timeout', 'the time for PROXY header, TLS handshake and WebSocket upgrade is over');
    }
  }

  #closeOldest(): void {
    const [oldest] = this.#pending;
    if (oldest === undefined) return;
    this.#pending.delete(oldest);
    oldest.fail('crowded', 'too many network connections had not come to speak MQTT');
  }
}

function ignore(): void {}

/** A TLS server does not say which socket a TLSSocket is on; node keeps it in a private property, and the TLS tests fail without it. */
function socketBelow(stream: Duplex): Duplex {
  return Reflect.get(stream, '_parent') ?? stream;
}
