/**
 * Connections of the NATS client library, which keeps everything but the bytes: dialling, credentials, subscriptions, heartbeats, statistics.
 * What it writes is collected by {@link Outgoing} for one write per turn of the event loop; what it reads is taken apart by
 * {@link Incoming}. Only private members reach so far; test/cluster/wire.test.ts notices if they change.
 */
import {
  connect,
  ErrorCode,
  type MsgHdrs,
  type NatsConnection,
  NatsError,
  type Payload,
  type PublishOptions,
  type Subscription,
} from 'nats';
import { Incoming } from './incoming.ts';
import { type Places, type Publisher, WireMessage } from './message.ts';
import { Outgoing } from './outgoing.ts';
import { type RefusedSubscription, readRefusedSubscription, saysTooManySubscriptions } from './refused-line.ts';

/** So much is written without waiting for the end of the turn. */
const FLUSH_BYTES = 32 * 1024;
/** Of the library's parser. */
const START_OF_LINE = 0;
const nothing = new Uint8Array(0);
const encoder = new TextEncoder();

/** Of the library's subscriptions. */
interface LibrarySubscription {
  received: number;
  readonly sid: number;
  readonly subject: string;
  readonly queue?: string;
  readonly max?: number;
  readonly callback?: (error: null, message: WireMessage) => void;
  unsubscribe(): void;
}

/** Of the library's protocol handler. */
interface LibraryProtocol extends Publisher {
  readonly info?: { readonly max_payload: number };
  readonly subscriptions: { readonly subs: ReadonlyMap<number, LibrarySubscription> };
  inMsgs: number;
  inBytes: number;
  outMsgs: number;
  outBytes: number;
  parser: { readonly state?: number };
  readonly transport: { disconnect(): void };
  outbound: object;
  sendCommand(command: string | Uint8Array, ...payloads: Uint8Array[]): void;
  flushPending(): void;
  processError(line: Uint8Array): void;
  processPing(): void;
  processPong(): void;
  processInfo(line: Uint8Array): void;
  _close(error?: Error): Promise<void>;
}

export interface WireEvents {
  /** Called at once, before the answer to a PING behind it; true keeps a refused subscription from the library, which ends one. */
  readonly subscriptionRefused?: ((refusal: RefusedSubscription) => boolean) | undefined;
  /** One of the last ones was one too many for the server, which does not say which; called as early. */
  readonly subscriptionsExceeded?: (() => void) | undefined;
  /** What the server sent could not be read, or a callback has thrown: a defect. The connection is made anew: nobody knows what was lost. */
  readonly failed?: (cause: unknown) => void;
}

/** As the library's function of this name. */
export async function connectWired(
  options: Parameters<typeof connect>[0],
  events: WireEvents = {},
): Promise<NatsConnection> {
  const connection = await connect(options);
  const { protocol } = connection as NatsConnection & { protocol?: LibraryProtocol }; // private to the library
  if (protocol === undefined) throw new Error('the NATS client library is not the one that this was written for');
  // The library's own parser must not be in the middle of a line, nor anything wait to be written.
  do await connection.flush();
  while (protocol.parser.state !== START_OF_LINE);
  readWith(protocol, events);
  writeWith(protocol);
  return connection;
}

/** Asks the server once more for a subscription of a {@link connectWired} connection, under the number that it has: one that it has stays as it is. */
export function askAgainFor(connection: NatsConnection, subscription: Subscription): void {
  const { protocol } = connection as NatsConnection & { protocol?: LibraryProtocol }; // as in connectWired
  const known = protocol?.subscriptions.subs.get(subscription.getID());
  if (protocol !== undefined && known !== undefined) writeSubscription(protocol, known);
}

/** The same for all that are wanted. Looks at all that there are. */
export function subscribeAgain(
  connection: NatsConnection,
  isWanted: (subject: string, queue: string | undefined) => boolean,
): void {
  const { protocol } = connection as NatsConnection & { protocol?: LibraryProtocol }; // as in connectWired
  for (const subscription of protocol?.subscriptions.subs.values() ?? [])
    if (protocol !== undefined && isWanted(subscription.subject, subscription.queue))
      writeSubscription(protocol, subscription);
}

function writeSubscription(protocol: LibraryProtocol, { queue, sid, subject }: LibrarySubscription): void {
  protocol.sendCommand(queue === undefined ? `SUB ${subject} ${sid}\r\n` : `SUB ${subject} ${queue} ${sid}\r\n`);
}

function readWith(protocol: LibraryProtocol, events: WireEvents): void {
  const { failed = throwLater } = events;
  const incoming = new Incoming({
    message: (chunk, places) => received(protocol, chunk, places),
    line: (line) => lineReceived(protocol, line, events),
  });
  let hasFailed = false;
  const parse = (bytes: Uint8Array): void => {
    if (hasFailed) return;
    try {
      incoming.parse(bytes);
    } catch (cause) {
      // Thrown into the library, it would end the reading and leave the connection open, deaf until heartbeats fail.
      hasFailed = true;
      failed(cause);
      protocol.transport.disconnect();
    }
  };
  const reset = (): void => {
    hasFailed = false;
    incoming.reset();
  };
  const parser = { parse };
  // The library makes a new parser for each connection.
  Object.defineProperty(protocol, 'parser', { get: () => parser, set: reset });
}

/** Nobody listens: the process does. */
function throwLater(cause: unknown): void {
  queueMicrotask(() => {
    throw cause;
  });
}

function received(protocol: LibraryProtocol, chunk: Buffer, places: Places): void {
  protocol.inMsgs++;
  protocol.inBytes += places.end - places.content;
  const subscription = protocol.subscriptions.subs.get(places.sid);
  if (subscription === undefined) return;
  subscription.received++;
  subscription.callback?.(null, new WireMessage(chunk, places, protocol));
  if (subscription.max !== undefined && subscription.received >= subscription.max) subscription.unsubscribe();
}

function lineReceived(protocol: LibraryProtocol, line: string, events: WireEvents): void {
  if (line === 'PING') protocol.processPing();
  else if (line === 'PONG') protocol.processPong();
  else if (line.startsWith('INFO ')) protocol.processInfo(encoder.encode(line.slice(5)));
  else if (line.startsWith('-ERR')) errorReceived(protocol, line.slice(4).trim(), events);
  else if (line !== '+OK') throw new Error('NATS sent a line that cannot be read');
}

function errorReceived(
  protocol: LibraryProtocol,
  text: string,
  { subscriptionRefused, subscriptionsExceeded }: WireEvents,
): void {
  const refusal = readRefusedSubscription(text);
  if (refusal !== undefined && subscriptionRefused?.(refusal) === true) return;
  if (subscriptionsExceeded !== undefined && saysTooManySubscriptions(text)) return subscriptionsExceeded();
  protocol.processError(encoder.encode(text));
}

function writeWith(protocol: LibraryProtocol): void {
  const outgoing = new Outgoing();
  let isScheduled = false;
  const flush = (): void => {
    isScheduled = false;
    protocol.flushPending();
  };
  const written = (): void => {
    if (outgoing.size() >= FLUSH_BYTES) return protocol.flushPending();
    if (isScheduled) return;
    isScheduled = true;
    // Behind all sockets that can be read in this turn: what their clients publish goes in one write.
    setImmediate(flush);
  };
  const fill = (command: string | Uint8Array, ...payloads: Uint8Array[]): void => {
    if (typeof command === 'string') outgoing.text(command);
    else outgoing.bytes(command);
    for (const payload of payloads) outgoing.bytes(payload);
  };
  protocol.outbound = {
    size: () => outgoing.size(),
    drain: () => outgoing.take(),
    reset: () => outgoing.reset(),
    fill,
  };
  protocol.sendCommand = (command, ...payloads) => {
    fill(command, ...payloads);
    written();
  };
  protocol.publish = (subject, payload = nothing, options) => {
    writePublish(protocol, outgoing, { subject, payload, options });
    written();
  };
  const close = protocol._close;
  protocol._close = (error) => {
    protocol.flushPending();
    return close.call(protocol, error);
  };
}

function writePublish(
  protocol: LibraryProtocol,
  outgoing: Outgoing,
  { options, payload, subject }: { subject: string; payload: Payload; options: PublishOptions | undefined },
): void {
  const data = typeof payload === 'string' ? encoder.encode(payload) : payload;
  const headers = options?.headers === undefined ? undefined : encodeHeaders(options.headers);
  const bytes = data.length + (headers?.length ?? 0);
  if (protocol.info !== undefined && bytes > protocol.info.max_payload)
    throw NatsError.errorForCode(ErrorCode.MaxPayloadExceeded);
  protocol.outMsgs++;
  protocol.outBytes += bytes;
  const target = options?.reply === undefined || options.reply === '' ? subject : `${subject} ${options.reply}`;
  if (headers === undefined) {
    outgoing.text(`PUB ${target} ${bytes}\r\n`);
  } else {
    outgoing.text(`HPUB ${target} ${headers.length} ${bytes}\r\n`);
    outgoing.bytes(headers);
  }
  outgoing.bytes(data);
  outgoing.lineEnd();
}

function encodeHeaders(headers: MsgHdrs): Uint8Array {
  return (headers as MsgHdrs & { encode(): Uint8Array }).encode(); // as the library does it
}
