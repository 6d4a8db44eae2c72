/**
 * How a byte stream arrives, whatever carries it. tcp.ts and ws.ts implement these contracts; what reads the bytes knows
 * nothing of sockets, and nothing here knows of MQTT.
 */

/** Who is at the other end. */
export interface Peer {
  readonly address: string;
  readonly port: number;
  /** Name of the listener it came through: tcp, tls, ws, wss. */
  readonly listener: string;
  /** Of a client that has proved to have the key of a certificate which an authority of ours has signed. */
  readonly certificate?: PeerCertificate;
}

/** What a certificate says of its owner; what it does not have is empty. */
export interface PeerCertificate {
  readonly commonName: string;
  /** Subject alternative names by kind. */
  readonly dns: readonly string[];
  readonly uri: readonly string[];
  readonly email: readonly string[];
  /** Of the whole certificate, as `AB:CD:…`. */
  readonly fingerprint256: string;
}

/** What a transport tells its reader. After {@link closed} nothing more comes. */
export interface TransportEvents {
  data(chunk: Buffer): void;
  /** Everything written has been taken by the kernel, after a time in which it had not. */
  drain(): void;
  /** The stream has ended, by the peer, by a fault, or by us. `cause` when there was a fault. */
  closed(cause: Error | undefined): void;
}

/** One accepted byte stream. */
export interface Transport {
  readonly peer: Peer;
  /** Bytes written and not yet taken by the kernel. */
  readonly bufferedBytes: number;
  /** The peer is slow: {@link TransportEvents.drain} tells when to write on. */
  readonly isBlocked: boolean;
  /** Starts reading. Called once, before anything else. */
  start(events: TransportEvents): void;
  write(bytes: Buffer): void;
  /** Stops and resumes reading; what is in flight may still come. */
  pause(): void;
  resume(): void;
  /** Sends what was written, then closes; destroys itself if the peer does not let go within a few seconds. */
  end(): void;
  /** Closes now; what was written may be lost. */
  destroy(): void;
}

/** Gets every accepted stream. */
export type Accept = (transport: Transport) => void;

/** Something that accepts streams on a port. */
export interface Listener {
  readonly name: string;
  /** The bound port; tells which one the kernel chose. */
  readonly port: number;
  /** Stops accepting; streams already accepted go on. */
  close(): Promise<void>;
}

/** Where and how to listen. `acceptsMore` is asked for each connection: false closes it at once. */
export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** Length of the kernel's queue of connections not yet accepted. */
  readonly backlog: number;
  readonly acceptsMore: () => boolean;
  /** PEM contents; present = TLS. */
  readonly tls?: TlsOptions;
}

export interface TlsOptions {
  readonly cert: string;
  readonly key: string;
  /** Authorities of client certificates; present = a client must show one. */
  readonly ca?: string;
}

/** How long a peer may take to let go of a stream that we ended. */
export const END_GRACE_MILLISECONDS = 5_000;
