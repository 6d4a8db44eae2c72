/**
 * Connections to NATS: credentials, TLS, retries, and what happens to them afterwards. A node has two: one for messages and
 * one for what must not wait behind them (takeovers; later leases, acknowledgements and records).
 */
import { readFile } from 'node:fs/promises';
import {
  type Authenticator,
  type ConnectionOptions,
  credsAuthenticator,
  type NatsConnection,
  nkeyAuthenticator,
} from 'nats';
import type { Logger } from 'pino';
import { connectWired } from './wire/connect.ts';

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
  options: { noEcho: boolean; log: Logger; signal: AbortSignal },
): Promise<NatsConnection> {
  const connectOptions = { ...(await connectionOptions(settings, name)), noEcho: options.noEcho };
  let wait = settings.reconnectWaitMs;
  for (;;) {
    options.signal.throwIfAborted();
    try {
      const connection = await connectWired(connectOptions);
      return await checkVersion(connection);
    } catch (error) {
      if (error instanceof ServerTooOldError) throw error;
      options.log.warn(
        { event: 'nats.connectFailed', servers: withoutCredentials(settings.servers), err: error },
        'NATS cannot be reached; trying again',
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
      } else if (status.type === 'error') {
        log.error({ event: 'nats.refused', code: status.data }, 'NATS refused a request of this node');
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

async function connectionOptions(settings: NatsSettings, name: string): Promise<ConnectionOptions> {
  const { inboxPrefix, password, pingIntervalSeconds, reconnectWaitMs, servers, token, user } = settings;
  const authenticator = await authenticatorOf(settings);
  const tls = await tlsOf(settings);
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

async function authenticatorOf(settings: NatsSettings): Promise<Authenticator | undefined> {
  if (settings.credsFile !== '') return credsAuthenticator(await readFile(settings.credsFile));
  if (settings.nkeySeedFile === '') return undefined;
  const seed = (await readFile(settings.nkeySeedFile, 'utf8')).trim();
  return nkeyAuthenticator(new TextEncoder().encode(seed));
}

async function tlsOf({ servers, tls }: NatsSettings): Promise<ConnectionOptions['tls'] | undefined> {
  const isRequired = tls.required || servers.some((server) => server.startsWith('tls://'));
  if (tls.ca === '' && tls.cert === '' && !isRequired) return undefined;
  return {
    ...(tls.ca === '' ? {} : { ca: await readFile(tls.ca, 'utf8') }),
    ...(tls.cert === '' ? {} : { cert: await readFile(tls.cert, 'utf8'), key: await readFile(tls.key, 'utf8') }),
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
