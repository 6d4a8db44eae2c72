/** Options of what one node and one client may take. */
import { integer } from '../formats.ts';
import { GIB, KIB, MIB, type Option, option } from './option.ts';

export const limits: readonly Option[] = [
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
