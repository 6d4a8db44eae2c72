/**
 * SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677), without channel binding: the client proves that it knows the password, the
 * server that it knows the client, and neither the password nor anything worth as much crosses the wire. Reached through
 * {@link ChainLink}. An unknown name and a wrong password look the same to the client.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { Reason, type ReasonCode } from '../mqtt/reason.ts';
import {
  type ChainLink,
  type Exchange,
  notAuthorized,
  type Refusal,
  unknownClient,
  type Verdict,
} from './authenticator.ts';
import { userNamed } from './identity.ts';
import { saslprep } from './saslprep.ts';
import { decodeBase64, hmac, type ScramCredentials, sha256 } from './scram-credentials.ts';
import type { ScramUsers } from './scram-users.ts';

const METHOD = 'SCRAM-SHA-256';
const NONCE_BYTES = 18;
/** Real messages have some hundred bytes. */
const MAXIMUM_MESSAGE_BYTES = 4096;

export interface ScramOptions {
  readonly users: ScramUsers;
  /** Whether a client that names no method is refused. */
  readonly requiresMethod: boolean;
  /** Our part of the nonce; default: fresh random bytes. */
  readonly nonce?: () => string;
}

/** The link with the one method; it comes first in a chain. */
export function scramLink({ nonce = randomNonce, requiresMethod, users }: ScramOptions) {
  return {
    name: 'scram',
    judge: () => (requiresMethod ? notAuthorized('an authentication method is needed') : unknownClient),
    begin: (method: string) => (method === METHOD ? new ScramExchange(users, nonce) : undefined),
  } as const satisfies ChainLink;
}

function randomNonce(): string {
  return randomBytes(NONCE_BYTES).toString('base64');
}

/** What the second message of the client is checked against. */
interface Begun {
  readonly name: string;
  readonly credentials: ScramCredentials;
  readonly gs2Header: string;
  readonly nonce: string;
  /** client-first-message-bare and server-first-message. */
  readonly transcript: string;
}

class ScramExchange implements Exchange {
  readonly #users: ScramUsers;
  readonly #nonce: () => string;
  #wasAsked = false;
  #begun: Begun | undefined;

  constructor(users: ScramUsers, nonce: () => string) {
    this.#users = users;
    this.#nonce = nonce;
  }

  async step(clientData: Buffer | undefined): Promise<Verdict> {
    if (this.#begun !== undefined) return this.#final(this.#begun, clientData);
    // A client may name the method first and begin only when it is asked to. RFC 4422 section 3.3
    if ((clientData === undefined || clientData.length === 0) && !this.#wasAsked) {
      this.#wasAsked = true;
      return { kind: 'continue', data: Buffer.alloc(0) };
    }
    return this.#first(clientData);
  }

  #first(clientData: Buffer | undefined): Verdict {
    const message = parseClientFirst(textOf(clientData));
    if (message === undefined) return refuse(Reason.protocolError, 'not a client-first-message of SCRAM');
    const { authorizationName, bare, bindsChannel, clientNonce, gs2Header, hasExtension } = message;
    if (bindsChannel) return refuse(Reason.notAuthorized, 'channel binding is not offered');
    if (hasExtension) return refuse(Reason.notAuthorized, 'unknown mandatory extension of SCRAM');
    const name = preparedName(message.name);
    if (name === undefined) return refuse(Reason.notAuthorized, 'user name with characters that are not allowed');
    if (authorizationName !== undefined && preparedName(authorizationName) !== name)
      return refuse(Reason.notAuthorized, 'nobody may act for somebody else');
    const credentials = this.#users.credentialsOf(name);
    const nonce = clientNonce + this.#nonce();
    const serverFirst = `r=${nonce},s=${credentials.salt.toString('base64')},i=${credentials.iterations}`;
    this.#begun = { name, credentials, gs2Header, nonce, transcript: `${bare},${serverFirst}` };
    return { kind: 'continue', data: Buffer.from(serverFirst) };
  }

  #final({ credentials, gs2Header, name, nonce, transcript }: Begun, clientData: Buffer | undefined): Verdict {
    const message = parseClientFinal(textOf(clientData));
    if (message === undefined) return refuse(Reason.protocolError, 'not a client-final-message of SCRAM');
    const authMessage = `${transcript},${message.withoutProof}`;
    const isSound =
      areEqual(message.channelBinding, Buffer.from(gs2Header)) &&
      areEqual(Buffer.from(message.nonce), Buffer.from(nonce));
    const isProved = provesKey(message.proof, credentials.storedKey, authMessage);
    if (!isSound || !isProved) return refuse(Reason.notAuthorized, 'authentication failed');
    const signature = hmac(credentials.serverKey, authMessage).toString('base64');
    return { kind: 'success', identity: userNamed(name), data: Buffer.from(`v=${signature}`) };
  }
}

function refuse(reason: ReasonCode, text: string): Refusal {
  return { kind: 'refused', reason, text };
}

/** RFC 5802 section 3: the proof with the signature taken off is the key whose hash is stored. */
function provesKey(proof: Buffer, storedKey: Buffer, authMessage: string): boolean {
  const signature = hmac(storedKey, authMessage);
  if (proof.length !== signature.length) return false;
  const clientKey = proof.map((byte, i) => byte ^ (signature[i] ?? 0));
  return timingSafeEqual(sha256(Buffer.from(clientKey)), storedKey);
}

function areEqual(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Empty for what cannot be a message. */
function textOf(data: Buffer | undefined): string {
  if (data === undefined || data.length > MAXIMUM_MESSAGE_BYTES) return '';
  try {
    return utf8.decode(data);
  } catch {
    return ''; // the caller refuses it
  }
}

interface ClientFirst {
  readonly gs2Header: string;
  readonly bindsChannel: boolean;
  /** Still escaped, as {@link name}. */
  readonly authorizationName: string | undefined;
  readonly bare: string;
  readonly hasExtension: boolean;
  readonly name: string;
  readonly clientNonce: string;
}

const clientFirst =
  /^(?<header>(?<binding>n|y|p=[A-Za-z0-9.-]+),(?:a=(?<authorization>[^,]+))?,)(?<bare>(?<mandatory>m=[^,]+,)?n=(?<name>[^,]+),r=(?<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]+)*)$/u;
const clientFinal =
  /^(?<withoutProof>c=(?<binding>[A-Za-z0-9+/=]+),r=(?<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]+)*),p=(?<proof>[A-Za-z0-9+/=]+)$/u;

/** RFC 5802 section 7, client-first-message */
function parseClientFirst(text: string): ClientFirst | undefined {
  const { authorization, bare, binding, header, mandatory, name, nonce } = clientFirst.exec(text)?.groups ?? {};
  if (bare === undefined || binding === undefined || header === undefined) return undefined;
  if (name === undefined || nonce === undefined) return undefined;
  return {
    gs2Header: header,
    bindsChannel: binding.startsWith('p'),
    authorizationName: authorization,
    bare,
    hasExtension: mandatory !== undefined,
    name,
    clientNonce: nonce,
  };
}

interface ClientFinal {
  readonly withoutProof: string;
  readonly channelBinding: Buffer;
  readonly nonce: string;
  readonly proof: Buffer;
}

/** RFC 5802 section 7, client-final-message */
function parseClientFinal(text: string): ClientFinal | undefined {
  const { binding = '', nonce, proof: proofText = '', withoutProof } = clientFinal.exec(text)?.groups ?? {};
  const channelBinding = decodeBase64(binding);
  const proof = decodeBase64(proofText);
  if (withoutProof === undefined || nonce === undefined) return undefined;
  if (channelBinding === undefined || proof === undefined) return undefined;
  return { withoutProof, channelBinding, nonce, proof };
}

/** Comma and equals sign are escaped in names, nothing else is. RFC 5802 section 5.1 */
function preparedName(escaped: string): string | undefined {
  if (/=(?!2C|3D)/.test(escaped)) return undefined;
  return saslprep(escaped.replaceAll('=2C', ',').replaceAll('=3D', '='));
}
