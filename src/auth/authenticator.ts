/**
 * Who a client is: the contract between the connection, which has what CONNECT says and carries AUTH packets (MQTT 5 section 4.12), and
 * whatever decides. node/authentication.ts builds one authenticator for the node. What is seen and said here is secret: nobody logs it.
 */
import type { ProtocolVersion } from '../mqtt/packet.ts';
import { Reason, type ReasonCode } from '../mqtt/reason.ts';
import type { Peer } from '../transport/listener.ts';
import type { Identity } from './identity.ts';

/** Decides who may connect. */
export interface Authenticator {
  /** Decides on a client that names no method; one without credentials is asked for too. A rejection is a fault of ours, never a denial. */
  authenticate(client: ConnectingClient, credentials: Credentials): Decision | Promise<Decision>;
  /** Begins an exchange by the method of this name; undefined: there is none. */
  begin(method: string, client: ConnectingClient): Exchange | undefined;
}

/** What is known of a client before it has proved anything. */
export interface ConnectingClient {
  /** As in CONNECT: empty when the client wants one assigned. */
  readonly clientId: string;
  readonly version: ProtocolVersion;
  /** Asks the kernel. */
  readonly peer: () => Peer;
  /** Its connection is closed: nobody waits for an answer any more. */
  readonly isGone: () => boolean;
}

/** What CONNECT says. Not kept for longer than the decision takes. */
export interface Credentials {
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
}

export type Decision = { readonly kind: 'accepted'; readonly identity: Identity } | Refusal;

/** One way to know clients: a file of users, keys of tokens, a service. chain.ts joins them to one {@link Authenticator}. */
export interface ChainLink {
  readonly name: AuthenticatorName;
  /** Says what it knows of a client that names no method. A rejection is a fault of ours, never a denial. */
  judge(client: ConnectingClient, credentials: Credentials): Opinion | Promise<Opinion>;
  /** Begins an exchange by the method of this name, if it is one of its own. */
  begin?(method: string, client: ConnectingClient): Exchange | undefined;
}

/** Names of the links as the configuration and the metrics have them. */
export type AuthenticatorName = 'scram' | 'certificate' | 'jwt' | 'password' | 'http' | 'anonymous';

/** `unknown`: none of its clients, the next link is asked. */
export type Opinion = Decision | Unavailable | { readonly kind: 'unknown' };

/** It cannot say now: the client is turned away as by a server that is not there, and no other link is asked. */
export interface Unavailable {
  readonly kind: 'unavailable';
  readonly reason: typeof Reason.serverUnavailable | typeof Reason.serverBusy;
  readonly text: string;
}

/** One run of a method. It is dropped, without a word, when the client goes away or is refused. */
export interface Exchange {
  /**
   * Takes what the client has sent and says how it goes on; not called again before it has answered, nor after the end.
   * A rejection is a fault of ours, never a denial.
   */
  step(clientData: Buffer | undefined): Promise<Verdict>;
}

/** How an exchange goes on. */
export type Verdict =
  | { readonly kind: 'continue'; readonly data: Buffer }
  | { readonly kind: 'success'; readonly identity: Identity; readonly data: Buffer | undefined }
  | Refusal;

/** `text` is told to the client: it says no more than the client may know. */
export interface Refusal {
  readonly kind: 'refused';
  readonly reason: ReasonCode;
  readonly text: string;
}

/** [MQTT5 3.1.4-2] [MQTT311 3.1.4-2] */
export function notAuthorized(text: string): Refusal {
  return { kind: 'refused', reason: Reason.notAuthorized, text };
}

/** The same words for whoever is not known and whoever gives a wrong password. [MQTT5 3.1.4-2] [MQTT311 3.1.4-2] */
export const badCredentials: Refusal = {
  kind: 'refused',
  reason: Reason.badUserNameOrPassword,
  text: 'bad user name or password',
};

export const unknownClient: Opinion = { kind: 'unknown' };

export function unavailable(text: string): Unavailable {
  return { kind: 'unavailable', reason: Reason.serverUnavailable, text };
}

/** More is asked of a link than it can answer. */
export const tooBusy: Unavailable = {
  kind: 'unavailable',
  reason: Reason.serverBusy,
  text: 'too many clients connect at once',
};

export function accepted(identity: Identity): Decision {
  return { kind: 'accepted', identity };
}
