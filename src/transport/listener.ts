/**
 * How a byte stream arrives, whatever carries it. tcp.ts and ws.ts implement these contracts; what reads the bytes knows
 * nothing of sockets, and nothing here knows of MQTT.
 */
import type { BlockList } from 'node:net';
import type { Arrivals } from './arrivals.ts';

/** Who is at the other end. */
export interface Peer {
  /** Of the client itself, also behind a balancer that speaks the PROXY protocol; empty on a Unix socket. */
  readonly address: string;
  readonly port: number;
  /** Name of the listener it came through: tcp, tls, ws, wss, unix. */
  readonly listener: string;
  /** Of a client that has proved to have the key of a certificate which an authority of ours has signed. Read when asked for only. */
  readonly certificate?: PeerCertificate | undefined;
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
  /** The client has shown it to a trusted balancer, which has verified it and tells no more than the common name. */
  readonly isFromBalancer?: true;
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
  /** What the PROXY header, the TLS handshake and the WebSocket upgrade have taken since the socket was accepted. */
  readonly openingMilliseconds: number;
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
  /** The bound port; tells which one the kernel chose. 0 on a Unix socket. */
  readonly port: number;
  /** What TLS handshakes from now on use; absent without TLS. */
  readonly useMaterial?: (material: TlsMaterial) => void;
  /** Stops accepting; streams already accepted, and those on their way, go on. */
  close(): Promise<void>;
}

/** Decides who may open a connection, and hears of the end of each that may. `address` is the real client's, empty where there is none. */
export interface Admission {
  /** Before TLS. False: the socket is destroyed. */
  admit(address: string): boolean;
  /** The socket of an admitted connection is closed. */
  left(address: string): void;
  /** An admitted connection was given up before it became a stream: its handshake, its header or its upgrade failed, or took too long. */
  failed(address: string): void;
}

/** Where and how to listen. */
export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** Length of the kernel's queue of connections not yet accepted. */
  readonly backlog: number;
  readonly admission: Admission;
  /** Holds the sockets until their bytes are MQTT; shared by all listeners of a node. */
  readonly arrivals: Arrivals;
  /** Connections from these addresses begin with a PROXY header; absent = none do. */
  readonly trusted?: BlockList | undefined;
  /** Present = TLS. */
  readonly tls?: TlsOptions | undefined;
}

/** PEM contents. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  /** Authorities of client certificates, never empty. */
  readonly ca?: string[];
  /** Revocation lists of those authorities, one text for each, never empty. */
  readonly crl?: string[];
}

export interface TlsOptions {
  readonly material: TlsMaterial;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  /** What a client does for certificates of `material.ca`: must show one, or may. Without `ca` nobody is asked. */
  readonly clientCertificate: 'required' | 'optional';
}

/** How long a peer may take to let go of a stream that we ended. */
export const END_GRACE_MILLISECONDS = 5_000;
