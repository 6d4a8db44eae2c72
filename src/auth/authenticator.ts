/**
 * Who a client is: the contract between connection/authenticate.ts, which carries AUTH packets (MQTT 5 section 4.12), and whatever
 * decides. server.ts builds one authenticator for the node; several can be joined behind the same contract, the first one that
 * knows a method begins it. What an exchange sees and says is secret: nobody logs it.
 */
import type { ReasonCode } from '../mqtt/reason.ts';

/** Decides who may connect. */
export interface Authenticator {
  /** Whether a client that names no method is refused. */
  readonly requiresMethod: boolean;
  /** Begins an exchange by the method of this name; undefined: there is none. */
  begin(method: string, client: ConnectingClient): Exchange | undefined;
}

/** What is known of a client before it has proved anything. */
export interface ConnectingClient {
  /** As in CONNECT: empty when the client wants one assigned. */
  readonly clientId: string;
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
  | { readonly kind: 'success'; readonly username: string; readonly data: Buffer | undefined }
  | Refusal;

/** `text` is told to the client: it says no more than the client may know. */
export interface Refusal {
  readonly kind: 'refused';
  readonly reason: ReasonCode;
  readonly text: string;
}

/** Knows no method and asks for none. */
export const noAuthenticator: Authenticator = { requiresMethod: false, begin: () => undefined };
