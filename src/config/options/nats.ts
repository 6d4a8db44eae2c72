/** Options of NATS. */
import { boolean, choice, file, inboxPrefix, integer, natsServers, subjectPrefix, text } from '../formats.ts';
import { GIB, KIB, MIB, type Option, option, secret } from './option.ts';

export const nats: readonly Option[] = [
  option(
    'nats.servers',
    'NATS_SERVERS',
    natsServers,
    [],
    'NATS servers to connect to; empty = embedded: one process, in memory.',
  ),
  option('nats.replicas', 'NATS_REPLICAS', integer(1, 5), 1, 'Replicas of every stream and bucket the server makes.'),
  option(
    'nats.storage',
    'NATS_STORAGE',
    choice('file', 'memory'),
    'file',
    'Storage of every stream and bucket the server makes.',
  ),
  option(
    'nats.topicPrefix',
    'NATS_TOPIC_PREFIX',
    subjectPrefix,
    '',
    'Goes before every subject: `mqtt` turns topic `a/b` into subject `mqtt.a.b`.',
  ),
  option(
    'nats.inboxPrefix',
    'NATS_INBOX_PREFIX',
    inboxPrefix,
    '_INBOX',
    'Goes before the subjects on which NATS answers this server; clients can reach no topic below its first word.',
  ),
  option(
    'nats.jetstream',
    'NATS_JETSTREAM',
    choice('on', 'off'),
    'on',
    'Store QoS 1 and 2 and sessions in JetStream; off = QoS 0 only, and CONNACK says so.',
  ),
  option(
    'nats.provision',
    'NATS_PROVISION',
    choice('auto', 'check'),
    'auto',
    'Make streams that are missing; check = refuse to start without them, for a NATS user who may not make any.',
  ),
  option(
    'nats.log.maxAgeSeconds',
    'NATS_LOG_MAX_AGE_SECONDS',
    integer(60, 31_536_000, 'seconds'),
    604_800,
    'How long the log keeps messages of QoS 1 and 2 for clients that are away.',
  ),
  option(
    'nats.log.maxBytes',
    'NATS_LOG_MAX_BYTES',
    integer(0, Number.MAX_SAFE_INTEGER, 'bytes'),
    0,
    'Size of the log; 0 = what JetStream allows.',
  ),
  option(
    'nats.log.discard',
    'NATS_LOG_DISCARD',
    choice('new', 'old'),
    'new',
    'When the log is full: refuse new messages (0x97), or forget the oldest ones, read or not.',
  ),
  option(
    'nats.log.duplicateWindowSeconds',
    'NATS_LOG_DUPLICATE_WINDOW_SECONDS',
    integer(120, 3_600, 'seconds'),
    120,
    'How long the log recognises a message of QoS 2 that is stored again.',
  ),
  option('nats.user', 'NATS_USER', text(), '', 'User name at NATS.'),
  secret('nats.password', 'NATS_PASSWORD', 'Password at NATS.'),
  secret('nats.token', 'NATS_TOKEN', 'Token at NATS.'),
  option('nats.nkeySeedFile', 'NATS_NKEY_SEED_FILE', file, '', 'File with the seed of an NKey.'),
  option('nats.credsFile', 'NATS_CREDS_FILE', file, '', 'File with NATS credentials (JWT and seed).'),
  option(
    'nats.tls.required',
    'NATS_TLS_REQUIRED',
    boolean,
    false,
    'Connect to NATS with TLS only, also without files below.',
  ),
  option('nats.tls.ca', 'NATS_TLS_CA', file, '', 'PEM file with the authorities of the NATS servers; set = TLS.'),
  option('nats.tls.cert', 'NATS_TLS_CERT', file, '', 'PEM file with our certificate for NATS.'),
  option('nats.tls.key', 'NATS_TLS_KEY', file, '', 'PEM file with our private key for NATS.'),
  option(
    'nats.reconnectWaitMs',
    'NATS_RECONNECT_WAIT_MS',
    integer(50, 10_000, 'milliseconds'),
    200,
    'Pause between attempts to reach NATS again.',
  ),
  option(
    'nats.pingIntervalSeconds',
    'NATS_PING_INTERVAL_SECONDS',
    integer(1, 60, 'seconds'),
    5,
    'Interval of pings to NATS; two without an answer end the connection.',
  ),
  option(
    'nats.maxInFlightBytes',
    'NATS_MAX_IN_FLIGHT_BYTES',
    integer(64 * KIB, GIB, 'bytes'),
    8 * MIB,
    'Bytes on their way to NATS above which publishing clients are held back.',
  ),
];

export const groups: readonly Option[] = [
  option(
    'groups.retentionSeconds',
    'GROUPS_RETENTION_SECONDS',
    integer(15, 31_536_000, 'seconds'),
    300,
    'How long a consumer group, and what waits for it, outlives its last member; at least three times `leaseSeconds`.',
  ),
];
