/**
 * The streams that supermq keeps in JetStream: made when absent, unless somebody else is to make them, and checked when present. A stream
 * with other settings is reported and left as it is: it may be the operator's wish, and changing it may lose what it holds.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ApiError, type Requests, UnavailableError } from './jetstream.ts';
import { NODE_PREFIX, NODE_STREAM } from './lease.ts';
import { LIVE_PREFIX, LOG_PREFIX, LOG_STREAM } from './log-record.ts';
import { RETAINED_PREFIX, RETAINED_STREAM } from './retained-page.ts';
import { SESSION_PREFIX, SESSION_STREAM } from './session-store.ts';
import { WILL_PREFIX, WILL_STREAM } from './will-store.ts';

/** Settings of all streams; sizes in bytes. */
export interface StorageSettings {
  readonly replicas: number;
  readonly storage: 'file' | 'memory';
  readonly logMaxAgeSeconds: number;
  /** 0 = what JetStream allows. */
  readonly logMaxBytes: number;
  readonly logDiscard: 'new' | 'old';
  readonly duplicateWindowSeconds: number;
}

export interface ProvisionOptions extends StorageSettings {
  /** Check: streams must be there already, so that a node needs no permission to make any. Default auto. */
  readonly provision?: 'auto' | 'check';
  /** Gives up waiting for JetStream. */
  readonly signal?: AbortSignal;
}

/** The server or the account has no JetStream. */
export class JetStreamMissingError extends Error {
  constructor(options?: ErrorOptions) {
    super(
      'NATS has no JetStream for this account: enable it (jetstream {} in the server configuration), or set nats.jetstream to off for QoS 0 only',
      options,
    );
    this.name = 'JetStreamMissingError';
  }
}

/** Streams are not there, and this node is not to make them. */
export class StreamsMissingError extends Error {
  constructor(names: readonly string[]) {
    const [are, them] = names.length === 1 ? ['is', 'it'] : ['are', 'them'];
    super(
      `${names.join(', ')} ${are} missing in JetStream, and nats.provision is check: make ${them} with "supermq provision" as a NATS user who may, or set nats.provision to auto`,
    );
    this.name = 'StreamsMissingError';
  }
}

/** Of the layout of streams and records; a greater one in a stream's metadata is a newer supermq's. */
const LAYOUT_VERSION = 1;
const VERSION_KEY = 'supermq-version';
const NANOSECONDS = 1e9;
const IN_USE = 10_058;
const NOT_FOUND = 10_059;
const DISABLED: ReadonlySet<number> = new Set([10_039, 10_076, 10_035]);
/** While a cluster forms, beside everything with 503: too few peers (a 400), no leader yet, raft at work. Other errors stay. */
const FORMING: ReadonlySet<number> = new Set([10_005, 10_007, 10_009, 10_041, 10_048]);
const CALL_MILLISECONDS = 5_000;
/** While a NATS cluster forms it has no leader, or too few peers. */
const PATIENCE_MILLISECONDS = 60_000;
/** For a server that is in no cluster and has no JetStream: a leaf node's hub may have it. */
const LONE_PATIENCE_MILLISECONDS = 2_000;
const RETRY_MILLISECONDS = 500;

type StreamSettings = Readonly<Record<string, unknown>> & { readonly name: string };

/**
 * Makes or checks all streams; safe when many nodes start at once.
 * @throws JetStreamMissingError; StreamsMissingError; ApiError for what JetStream refuses; UnavailableError when it never answers; Error for streams of a
 * newer version; the signal's reason
 */
export async function provision(requests: Requests, options: ProvisionOptions, log: Logger): Promise<void> {
  const attempt = options.provision === 'check' ? find : makeOrFind;
  const missing: string[] = [];
  for (const wanted of streamsOf(options)) {
    const found = await patiently({ requests, log, signal: options.signal }, () => attempt(requests, wanted));
    if (found === undefined) {
      missing.push(wanted.name);
      continue;
    }
    checkVersion(wanted.name, found);
    reportDifferences(wanted, found, log);
  }
  if (missing.length > 0) throw new StreamsMissingError(missing);
}

function streamsOf(settings: StorageSettings): StreamSettings[] {
  const common = {
    retention: 'limits',
    storage: settings.storage,
    num_replicas: settings.replicas,
    allow_direct: true,
    allow_msg_ttl: true,
    deny_delete: true,
    metadata: { [VERSION_KEY]: String(LAYOUT_VERSION) },
  };
  return [
    {
      ...common,
      name: LOG_STREAM,
      subjects: [`${LOG_PREFIX}>`],
      max_age: settings.logMaxAgeSeconds * NANOSECONDS,
      max_bytes: settings.logMaxBytes === 0 ? -1 : settings.logMaxBytes,
      discard: settings.logDiscard,
      duplicate_window: settings.duplicateWindowSeconds * NANOSECONDS,
      // Nobody may take a message out or set the log back. [docs/delivery-guarantees.md]
      deny_purge: true,
      allow_rollup_hdrs: false,
      republish: { src: `${LOG_PREFIX}>`, dest: `${LIVE_PREFIX}>` },
    },
    { ...common, name: RETAINED_STREAM, subjects: [`${RETAINED_PREFIX}>`], max_msgs_per_subject: 1, discard: 'new' },
    { ...common, name: SESSION_STREAM, subjects: [`${SESSION_PREFIX}>`], max_msgs_per_subject: 1, discard: 'new' },
    { ...common, name: NODE_STREAM, subjects: [`${NODE_PREFIX}>`], max_msgs_per_subject: 1, discard: 'new' },
    { ...common, name: WILL_STREAM, subjects: [`${WILL_PREFIX}>`], max_msgs_per_subject: 1, discard: 'new' },
  ];
}

async function makeOrFind(requests: Requests, wanted: StreamSettings): Promise<StreamSettings> {
  const present = await find(requests, wanted);
  if (present !== undefined) return present;
  try {
    const made = await requests.api<{ config: StreamSettings }>(
      `STREAM.CREATE.${wanted.name}`,
      wanted,
      CALL_MILLISECONDS,
    );
    return made.config;
  } catch (error) {
    // Another node was faster, with other settings.
    const faster = error instanceof ApiError && error.errorCode === IN_USE ? await find(requests, wanted) : undefined;
    if (faster === undefined) throw error;
    return faster;
  }
}

async function find(requests: Requests, { name }: StreamSettings): Promise<StreamSettings | undefined> {
  try {
    return (await requests.api<{ config: StreamSettings }>(`STREAM.INFO.${name}`, '', CALL_MILLISECONDS)).config;
  } catch (error) {
    if (error instanceof ApiError && error.errorCode === NOT_FOUND) return undefined;
    throw error;
  }
}

interface Waiting {
  readonly requests: Requests;
  readonly log: Logger;
  readonly signal: AbortSignal | undefined;
}

async function patiently<T>({ log, requests, signal }: Waiting, attempt: () => Promise<T>): Promise<T> {
  const started = performance.now();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof ApiError && DISABLED.has(error.errorCode)) throw new JetStreamMissingError({ cause: error });
      const { cluster, jetstream } = requests.connection.info ?? {};
      const isLone = jetstream !== true && cluster === undefined;
      const patience = isLone ? LONE_PATIENCE_MILLISECONDS : PATIENCE_MILLISECONDS;
      if (!isTemporary(error) || performance.now() - started > patience) {
        const isMissing = error instanceof UnavailableError && jetstream !== true;
        throw isMissing ? new JetStreamMissingError({ cause: error }) : error;
      }
      log.warn(
        { event: 'nats.streamsNotReady', err: error },
        'JetStream cannot make or show streams yet; trying again',
      );
      await rest(signal);
    }
  }
}

/** @throws the signal's reason */
async function rest(signal: AbortSignal | undefined): Promise<void> {
  try {
    await pause(RETRY_MILLISECONDS, undefined, signal === undefined ? {} : { signal });
  } catch {
    // Node wraps it: who waits wants the reason itself.
    signal?.throwIfAborted();
  }
}

function isTemporary(error: unknown): boolean {
  if (error instanceof ApiError) return error.code === 503 || FORMING.has(error.errorCode);
  return error instanceof UnavailableError;
}

function checkVersion(name: string, found: StreamSettings): void {
  const version = Number((found['metadata'] as Record<string, string> | undefined)?.[VERSION_KEY] ?? 0); // as the server echoes it
  if (version > LAYOUT_VERSION) {
    throw new Error(
      `stream ${name} was made by a newer supermq (layout ${version}, this one knows ${LAYOUT_VERSION}): upgrade this node`,
    );
  }
}

function reportDifferences(wanted: StreamSettings, found: StreamSettings, log: Logger): void {
  for (const [setting, value] of Object.entries(wanted)) {
    if (setting === 'metadata' || JSON.stringify(found[setting]) === JSON.stringify(value)) continue;
    // The server leaves out what is false.
    if (value === false && found[setting] === undefined) continue;
    log.warn(
      { event: 'nats.streamDiffers', stream: wanted.name, setting, wanted: value, found: found[setting] },
      'A stream has other settings than configured; it is left as it is',
    );
  }
}
