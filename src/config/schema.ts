/**
 * Every option of the server: key, environment variable, default, what is allowed, and what it means. The table in
 * docs/configuration.md, config/default.yaml and `--help` are made from this list; convict gets it as its schema.
 */
import {
  boolean,
  choice,
  type Format,
  file,
  integer,
  natsServers,
  port,
  processCount,
  serverReferences,
  subjectPrefix,
  text,
  urlPath,
} from './formats.ts';

export interface Option {
  /** Dotted path in the configuration file. */
  readonly key: string;
  readonly env: string;
  readonly default: unknown;
  readonly format: Format<unknown>;
  /** One sentence, with the unit. */
  readonly doc: string;
  /** Never printed. */
  readonly isSecret: boolean;
}

function option<T>(key: string, env: string, format: Format<T>, fallback: T, doc: string): Option {
  return { key, env: `SUPERMQ_${env}`, format, default: fallback, doc, isSecret: false };
}

function secret(key: string, env: string, doc: string): Option {
  return { ...option(key, env, text(), '', doc), isSecret: true };
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

const node: readonly Option[] = [
  option(
    'node.id',
    'NODE_ID',
    text('a name without white space of at most 64 characters', /^\S{0,64}$/),
    '',
    'Unique name of this node; empty = host name and a random suffix.',
  ),
  option(
    'log.level',
    'LOG_LEVEL',
    choice('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    'info',
    'Least severe level that is logged.',
  ),
  option(
    'workers',
    'WORKERS',
    processCount(64),
    1,
    'Processes that share the listeners, each a node of its own; auto = one per core.',
  ),
  option(
    'leaseSeconds',
    'LEASE_SECONDS',
    integer(5, 300, 'seconds'),
    15,
    'How long a silent node is still believed alive; a node that has been without NATS for as long closes its clients.',
  ),
  option(
    'drainSeconds',
    'DRAIN_SECONDS',
    integer(1, 300, 'seconds'),
    10,
    'Longest time that a stopping node takes to write sessions and to settle messages.',
  ),
];

const listeners: readonly Option[] = [
  option(
    'mqtt.tcp.host',
    'MQTT_TCP_HOST',
    text('a host name or address', /^\S+$/),
    '0.0.0.0',
    'Address that all MQTT listeners bind to.',
  ),
  option('mqtt.tcp.port', 'MQTT_TCP_PORT', port, 1883, 'MQTT over TCP.'),
  option('mqtt.tls.port', 'MQTT_TLS_PORT', port, 0, 'MQTT over TLS (8883 by custom).'),
  option('mqtt.ws.port', 'MQTT_WS_PORT', port, 8083, 'MQTT over WebSocket.'),
  option('mqtt.ws.path', 'MQTT_WS_PATH', urlPath, '/mqtt', 'Path of WebSocket requests, for both WebSocket listeners.'),
  option('mqtt.wss.port', 'MQTT_WSS_PORT', port, 0, 'MQTT over WebSocket with TLS (8084 by custom).'),
];

const tlsAndHttp: readonly Option[] = [
  option('tls.cert', 'TLS_CERT', file, '', 'PEM file with the certificate chain of the TLS listeners.'),
  option('tls.key', 'TLS_KEY', file, '', 'PEM file with the private key of the TLS listeners.'),
  option(
    'tls.ca',
    'TLS_CA',
    file,
    '',
    'PEM file with the authorities of client certificates; set = clients must show one.',
  ),
  option(
    'http.host',
    'HTTP_HOST',
    text('a host name or address', /^\S+$/),
    '0.0.0.0',
    'Address of /healthz, /readyz and /metrics.',
  ),
  option('http.port', 'HTTP_PORT', port, 11883, 'Port of /healthz, /readyz and /metrics.'),
];

const capabilities: readonly Option[] = [
  option(
    'mqtt.maximumQos',
    'MQTT_MAXIMUM_QOS',
    integer(0, 2),
    2,
    'Highest QoS that clients may publish with, and that subscriptions are granted.',
  ),
  option('mqtt.retainAvailable', 'MQTT_RETAIN_AVAILABLE', boolean, true, 'Offer retained messages.'),
  option(
    'mqtt.wildcardSubscriptions',
    'MQTT_WILDCARD_SUBSCRIPTIONS',
    boolean,
    true,
    'Offer subscriptions with `+` and `#`.',
  ),
  option(
    'mqtt.subscriptionIdentifiers',
    'MQTT_SUBSCRIPTION_IDENTIFIERS',
    boolean,
    true,
    'Offer subscription identifiers.',
  ),
  option(
    'mqtt.sharedSubscriptions',
    'MQTT_SHARED_SUBSCRIPTIONS',
    boolean,
    true,
    'Offer consumer groups, `$share` and `$g`.',
  ),
  option(
    'mqtt.responseInformation',
    'MQTT_RESPONSE_INFORMATION',
    text(
      'a topic without + and #, not below $ or _INBOX, in which %c stands for the client id, or empty',
      /^(?!\$|_INBOX(?:\/|$))[^+#\0]*$/,
    ),
    '',
    'Response Information for MQTT 5 clients that ask for it, `%c` stands for the client id; empty = none.',
  ),
  option(
    'mqtt.checkPayloadFormat',
    'MQTT_CHECK_PAYLOAD_FORMAT',
    boolean,
    false,
    'Refuse a message whose Payload Format Indicator says UTF-8 and whose payload is not (0x99).',
  ),
];

const auth: readonly Option[] = [
  option(
    'auth.scram.file',
    'AUTH_SCRAM_FILE',
    file,
    '',
    'File with the users of SCRAM-SHA-256 (MQTT 5), one per line as `supermq scram-user` makes them; read again when it changes.',
  ),
  option(
    'auth.scram.required',
    'AUTH_SCRAM_REQUIRED',
    boolean,
    false,
    'Refuse clients that do not authenticate with SCRAM-SHA-256, which includes all of MQTT 3.x.',
  ),
];

const nats: readonly Option[] = [
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
    'nats.jetstream',
    'NATS_JETSTREAM',
    choice('on', 'off'),
    'on',
    'Store QoS 1 and 2 and sessions in JetStream; off = QoS 0 only, and CONNACK says so.',
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

const drain: readonly Option[] = [
  option(
    'drain.serverReference',
    'DRAIN_SERVER_REFERENCE',
    serverReferences,
    [],
    'Servers (`host` or `host:port`) that a stopping node sends its MQTT 5 clients to; empty = it only says that it stops.',
  ),
  option(
    'drain.permanent',
    'DRAIN_PERMANENT',
    boolean,
    false,
    'The servers of `drain.serverReference` are to be used for good (0x9D), not only this time (0x9C).',
  ),
];

const groups: readonly Option[] = [
  option(
    'groups.retentionSeconds',
    'GROUPS_RETENTION_SECONDS',
    integer(15, 31_536_000, 'seconds'),
    300,
    'How long a consumer group, and what waits for it, outlives its last member; at least three times `leaseSeconds`.',
  ),
];

const limits: readonly Option[] = [
  option(
    'limits.maxConnections',
    'LIMITS_MAX_CONNECTIONS',
    integer(1, 10_000_000),
    1_000_000,
    'Network connections of this node.',
  ),
  option(
    'limits.maxPacketBytes',
    'LIMITS_MAX_PACKET_BYTES',
    integer(KIB, 268_435_455, 'bytes'),
    MIB,
    'Largest MQTT packet from a client; NATS max_payload less 1 KiB is a further limit.',
  ),
  option(
    'limits.connectTimeoutSeconds',
    'LIMITS_CONNECT_TIMEOUT_SECONDS',
    integer(1, 300, 'seconds'),
    10,
    'How long a network connection may take to send CONNECT.',
  ),
  option(
    'limits.maxKeepAliveSeconds',
    'LIMITS_MAX_KEEP_ALIVE_SECONDS',
    integer(0, 65_535, 'seconds'),
    0,
    'Longest keep alive of MQTT 5 clients, which hear of it as Server Keep Alive; 0 = what the client wants.',
  ),
  option(
    'limits.maxSessionExpirySeconds',
    'LIMITS_MAX_SESSION_EXPIRY_SECONDS',
    integer(0, 4_294_967_295, 'seconds'),
    604_800,
    'Longest Session Expiry Interval granted; 4294967295 = for ever.',
  ),
  option(
    'limits.receiveMaximum',
    'LIMITS_RECEIVE_MAXIMUM',
    integer(1, 65_535),
    100,
    'Messages of QoS 1 and 2 that a client may have under way to us.',
  ),
  option(
    'limits.maxInFlightPerClient',
    'LIMITS_MAX_IN_FLIGHT_PER_CLIENT',
    integer(1, 65_535),
    256,
    'Messages of QoS 1 and 2 under way to a client, if its own Receive Maximum is not lower.',
  ),
  option(
    'limits.maxSubscriptionsPerClient',
    'LIMITS_MAX_SUBSCRIPTIONS_PER_CLIENT',
    integer(1, 100_000),
    1_000,
    'Subscriptions of one client.',
  ),
  option(
    'limits.maxGroups',
    'LIMITS_MAX_GROUPS',
    integer(1, 1_000_000),
    1_000,
    'Consumer groups (name and filter) with members on this node; each is a JetStream consumer.',
  ),
  option(
    'limits.maxOutboundBytesPerClient',
    'LIMITS_MAX_OUTBOUND_BYTES_PER_CLIENT',
    integer(16 * KIB, GIB, 'bytes'),
    MIB,
    'Bytes that wait for a slow client before QoS 0 messages for it are dropped.',
  ),
  option(
    'limits.topicAliasMaximum',
    'LIMITS_TOPIC_ALIAS_MAXIMUM',
    integer(0, 65_535),
    32,
    'Topic aliases that a client may use on its way to us.',
  ),
  option(
    'limits.outboundTopicAliasMaximum',
    'LIMITS_OUTBOUND_TOPIC_ALIAS_MAXIMUM',
    integer(0, 65_535),
    32,
    'Topic aliases that we use on our way to a client that takes as many; 0 = never.',
  ),
  option(
    'limits.maxClientIdBytes',
    'LIMITS_MAX_CLIENT_ID_BYTES',
    integer(23, 65_535, 'bytes'),
    1_024,
    'Longest client id.',
  ),
  option(
    'limits.backlog',
    'LIMITS_BACKLOG',
    integer(1, 65_535),
    4_096,
    'Network connections that may wait in the kernel to be accepted.',
  ),
];

/** All options, in the order in which the documentation shows them. */
export const schema: readonly Option[] = [
  ...node,
  ...drain,
  ...listeners,
  ...capabilities,
  ...tlsAndHttp,
  ...auth,
  ...nats,
  ...groups,
  ...limits,
];
