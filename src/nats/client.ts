/**
 * Connections to NATS: credentials, TLS, retries, and what happens to them afterwards. A node has two: one for messages and
 * one for what must not wait behind them (takeovers; later leases, acknowledgements and records).
 */
import { readFileSync } from 'node:fs';
import {
  type Authenticator,
  type ConnectionOptions,
  credsAuthenticator,
  ErrorCode,
  type NatsConnection,
  NatsError,
  nkeyAuthenticator,
} from 'nats';
import type { Logger } from 'pino';
import { connectWired, type WireEvents } from './wire/connect.ts';
import { unquoteGo } from './wire/refused-line.ts';

/** How to reach and enter NATS; file names are paths of PEM, creds or seed files, empty = not used. */
export interface NatsSettings {
  readonly servers: readonly string[];
  readonly user: string;
  readonly password: string;
  readonly token: string;
  readonly nkeySeedFile: string;
  readonly credsFile: string;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string; readonly required: boolean };
  /** Words before each inbox. */
  readonly inboxPrefix: string;
  readonly reconnectWaitMs: number;
  readonly pingIntervalSeconds: number;
}

/** A request that NATS did not carry out; `subject` is empty where it says none. */
export interface Refusal {
  readonly isPublish: boolean;
  readonly subject: string;
}

/** What the rest of the node wants to know of a connection. */
export interface ConnectionWatcher {
  disconnected(): void;
  reconnected(): void;
  /** The connection is given up for good: only after {@link NatsConnection.close} or a fault nothing can mend. */
  closed(cause: Error | undefined): void;
}

/** nats-server's protocol and storage features that we rely on came with this release (message TTL, batched direct get). */
const OLDEST_SERVER = '2.11.0';
const CONNECT_TIMEOUT_MILLISECONDS = 5_000;
const LONGEST_RETRY_MILLISECONDS = 5_000;
/** Between two words of what NATS refuses. */
const REFUSAL_MILLISECONDS = 1_000;
/** Of a subject that was refused: a client may have chosen it. */
const SHOWN_CHARACTERS = 200;

/** The server is too old: retrying does not help. */
export class ServerTooOldError extends Error {
  constructor(version: string) {
    super(`nats-server ${version} is too old: supermq needs ${OLDEST_SERVER} or newer`);
    this.name = 'ServerTooOldError';
  }
}

/**
 * Connects, and tries again for as long as it takes, with a log line per attempt. `name` is shown by NATS tools.
 * @throws ServerTooOldError; the signal's reason when it is aborted; errors of credential files that cannot be read
 */
export async function connectNats(
  settings: NatsSettings,
  name: string,
  options: {
    noEcho: boolean;
    log: Logger;
    signal: AbortSignal;
    refused?: (refusal: Refusal) => void;
    /** True for a subscription of the caller's, who deals with it. */
    subscriptionRefused?: WireEvents['subscriptionRefused'];
    subscriptionsExceeded?: WireEvents['subscriptionsExceeded'];
    /** A message has brought about a defect; the connection is made anew. */
    failed?: () => void;
  },
): Promise<NatsConnection> {
  const connectOptions = { ...connectionOptions(settings, name), noEcho: options.noEcho };
  const { subscriptionRefused, subscriptionsExceeded } = options;
  const failed = (cause: unknown): void => {
    options.log.error({ event: 'nats.readFailed', err: cause }, 'What NATS has sent met a defect: connecting anew');
    options.failed?.();
  };
  let wait = settings.reconnectWaitMs;
  for (;;) {
    options.signal.throwIfAborted();
    try {
      const connection = await checkVersion(
        await connectWired(connectOptions, { subscriptionRefused, subscriptionsExceeded, failed }),
      );
      reportRefusals(connection, options.log, options.refused);
      return connection;
    } catch (error) {
      if (error instanceof ServerTooOldError) throw error;
      options.log.warn(
        { event: 'nats.connectFailed', servers: withoutCredentials(settings.servers), err: error },
        `${whyNot(error, settings)}; trying again`,
      );
    }
    await pause(wait, options.signal);
    wait = Math.min(wait * 2, LONGEST_RETRY_MILLISECONDS);
  }
}

/** Reports every loss and return of a connection until it is closed. */
export function watchConnection(connection: NatsConnection, log: Logger, watcher: ConnectionWatcher): void {
  const follow = async (): Promise<void> => {
    for await (const status of connection.status()) {
      if (status.type === 'disconnect') {
        log.warn({ event: 'nats.disconnected', server: status.data }, 'NATS connection lost');
        watcher.disconnected();
      } else if (status.type === 'reconnect') {
        log.info({ event: 'nats.reconnected', server: status.data }, 'NATS connection restored');
        watcher.reconnected();
      }
    }
  };
  follow().catch((error: unknown) =>
    log.error({ event: 'nats.statusFailed', err: error }, 'NATS status can no longer be followed'),
  );
  connection.closed().then(
    (cause) => watcher.closed(cause instanceof Error ? cause : undefined),
    (error: unknown) => watcher.closed(error instanceof Error ? error : new Error(String(error))),
  );
}

/** Server URLs may contain user and password. */
export function withoutCredentials(servers: readonly string[]): string[] {
  return servers.map((server) => server.replace(/\/\/[^@/]*@/, '//'));
}

/** Said from the first request on; those that follow within a while are counted, since a client may be their cause. */
function reportRefusals(connection: NatsConnection, log: Logger, refused: (refusal: Refusal) => void = () => {}): void {
  let quietUntil = 0;
  let unsaid = 0;
  const follow = async (): Promise<void> => {
    for await (const { data: code, permissionContext, type } of connection.status()) {
      if (type !== 'error') continue;
      const { operation, subject = '' } = permissionContext ?? {};
      refused({ isPublish: operation === 'publish', subject: unquoteGo(subject) });
      unsaid++;
      if (performance.now() < quietUntil) continue;
      log.error(
        { event: 'nats.refused', code, operation, subject: subject.slice(0, SHOWN_CHARACTERS), count: unsaid },
        'NATS refused a request of this node',
      );
      unsaid = 0;
      quietUntil = performance.now() + REFUSAL_MILLISECONDS;
    }
  };
  follow().catch((error: unknown) =>
    log.error({ event: 'nats.statusFailed', err: error }, 'NATS status can no longer be followed'),
  );
}

function whyNot(error: unknown, { tls }: NatsSettings): string {
  if (error instanceof NatsError && error.isAuthError()) return 'NATS refuses the credentials of this node';
  // A server that does not accept a certificate says so after the handshake, where the library does not listen.
  const isSilent = error instanceof NatsError && error.code === ErrorCode.Timeout;
  if (isSilent && tls.cert !== '') return 'NATS does not answer, or does not accept the certificate of this node';
  return 'NATS cannot be reached';
}

function connectionOptions(settings: NatsSettings, name: string): ConnectionOptions {
  const { inboxPrefix, password, pingIntervalSeconds, reconnectWaitMs, servers, token, user } = settings;
  const authenticator = authenticatorOf(settings);
  const tls = tlsOf(settings);
  return {
    servers: [...servers],
    name,
    inboxPrefix,
    timeout: CONNECT_TIMEOUT_MILLISECONDS,
    reconnectTimeWait: reconnectWaitMs,
    reconnectJitter: Math.ceil(reconnectWaitMs / 2),
    maxReconnectAttempts: -1,
    // A refused login may be an operator's mistake in the making: keep trying, loudly.
    ignoreAuthErrorAbort: true,
    pingInterval: pingIntervalSeconds * 1000,
    maxPingOut: 2,
    noAsyncTraces: true,
    ...(user === '' ? {} : { user, pass: password }),
    ...(token === '' ? {} : { token }),
    ...(authenticator === undefined ? {} : { authenticator }),
    ...(tls === undefined ? {} : { tls }),
  };
}

/** Files are read for each attempt: credentials can be replaced while the node runs. */
function authenticatorOf({ credsFile, nkeySeedFile }: NatsSettings): Authenticator | undefined {
  if (credsFile !== '') return rereading(credsFile, credsAuthenticator);
  if (nkeySeedFile === '') return undefined;
  return rereading(nkeySeedFile, (seed) => nkeyAuthenticator(encoder.encode(decoder.decode(seed).trim())));
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * With what is in the file; while that cannot be read or is of no use, with what was in it before: NATS says whether the old one still holds.
 * The library would give the connection up for good when its authenticator throws, so only the first attempt to connect hears of that.
 */
function rereading(path: string, make: (content: Uint8Array) => Authenticator): Authenticator {
  let last: Authenticator | undefined;
  return (nonce) => {
    try {
      const authenticator = make(readFileSync(path));
      const credentials = authenticator(nonce);
      last = authenticator;
      return credentials;
    } catch (error) {
      if (last === undefined) throw error;
      return last(nonce);
    }
  };
}

/** The library reads the files for each attempt. */
function tlsOf({ servers, tls }: NatsSettings): ConnectionOptions['tls'] | undefined {
  const isRequired = tls.required || servers.some((server) => server.startsWith('tls://'));
  if (tls.ca === '' && tls.cert === '' && !isRequired) return undefined;
  return {
    ...(tls.ca === '' ? {} : { caFile: tls.ca }),
    ...(tls.cert === '' ? {} : { certFile: tls.cert, keyFile: tls.key }),
  };
}

async function checkVersion(connection: NatsConnection): Promise<NatsConnection> {
  const version = connection.info?.version ?? '0.0.0';
  if (isAtLeast(version, OLDEST_SERVER)) return connection;
  await connection.close();
  throw new ServerTooOldError(version);
}

/** Compares the three numbers of a version; what follows them (a pre-release) is ignored. */
export function isAtLeast(version: string, oldest: string): boolean {
  const numbers = (text: string): number[] => (/^\d+\.\d+\.\d+/.exec(text)?.[0] ?? '0.0.0').split('.').map(Number);
  const wanted = numbers(oldest);
  for (const [index, number] of numbers(version).entries()) {
    const difference = number - (wanted[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, milliseconds);
    signal.addEventListener('abort', abort, { once: true });
  });
}
