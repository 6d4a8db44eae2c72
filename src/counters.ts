/**
 * What a node counts, as plain numbers: cheap enough for the hot path. admin/metrics.ts reads them when it is asked.
 * Every cause for which a message can be dropped has a counter of its own.
 */

/** Why a message did not go on, as the label `cause` of `supermq_messages_dropped_total`. */
export interface DropCounters {
  /** A published topic lies behind the walls (`$…`, `_INBOX`). */
  forbiddenTopic: number;
  /** The rules deny it to the client. */
  notAuthorized: number;
  /** Said to be UTF-8 and was not; QoS 1 and 2. */
  payloadInvalid: number;
  /** The bus was disconnected. */
  busDisconnected: number;
  /** The message and its properties are larger than the bus carries now. */
  tooLargeForBus: number;
  /** A message from the bus has a subject or properties that no MQTT client could have sent. */
  notMqtt: number;
  /** The subscriber's waiting bytes were at their limit. */
  slowSubscriber: number;
  /** The packet is larger than the subscriber's Maximum Packet Size. */
  tooLargeForSubscriber: number;
  /** The message had waited for longer than its Message Expiry Interval. */
  expired: number;
  /** A live message far beyond the end of the log: somebody else's than the server's. */
  forgedSequence: number;
  /** A message that a client had not acknowledged is no longer in the log. */
  outOfRetention: number;
}

/** How often a limit was reached, as the label `limit` of `supermq_limit_reached_total`: each is called like its option below `limits`. */
export interface LimitCounters {
  /** Network connections refused before anything was read. */
  maxConnections: number;
  maxConnectionsPerAddress: number;
  connectsPerSecond: number;
  connectsPerSecondPerAddress: number;
  /** Of jailed addresses. */
  jailSeconds: number;
  /** Closed without CONNECT. */
  connectTimeoutSeconds: number;
  /** CONNECTs refused: of jailed client ids, of users with enough connections, while the node was overloaded. */
  jailReconnects: number;
  maxConnectionsPerUser: number;
  maxEventLoopDelayMs: number;
  maxMemoryBytes: number;
  maxClientIdBytes: number;
  maxWillBytes: number;
  /** Times that a client was not read for a while. */
  publishesPerSecond: number;
  publishBytesPerSecond: number;
  /** Clients closed. */
  maxConnectBytes: number;
  maxPacketBytes: number;
  receiveMaximum: number;
  /** Topics of messages and wills, and filters, that were refused. */
  maxTopicBytes: number;
  maxTopicLevels: number;
  /** Filters refused. */
  maxSubscriptionsPerClient: number;
  maxGroups: number;
}

/** Why a network connection never came to speak MQTT, as the label `cause` of `supermq_arrivals_failed_total`. */
export interface ArrivalCounters {
  /** A trusted balancer sent something else than a PROXY header. */
  proxyHeader: number;
  /** The TLS handshake failed, or the client certificate is not valid. */
  tls: number;
  /** The HTTP request was no WebSocket upgrade of ours. */
  upgrade: number;
  /** The time was over. */
  timeout: number;
  /** It had been on its way for longest when there were too many. */
  crowded: number;
  /** The peer closed it. */
  left: number;
}

/** What has become of clients at one authenticator, as the label `result` of `supermq_authentications_total`. */
export interface AuthenticationCounters {
  accepted: number;
  refused: number;
  unavailable: number;
}

/** By what decided; `chain`: no authenticator knew the client. */
export type AuthenticationName = 'scram' | 'certificate' | 'jwt' | 'password' | 'http' | 'anonymous' | 'chain';

/** What rules have denied, as the label `action` of `supermq_acl_denied_total`. */
export interface DenialCounters {
  /** Messages. */
  publish: number;
  /** Topic filters of SUBSCRIBE. */
  subscribe: number;
  /** CONNECT packets with a will. */
  will: number;
  /** Stored subscriptions of a client that came back, removed. */
  resume: number;
  /** Connections closed because rules have changed, or credentials were renewed with others. */
  revoke: number;
}

export interface Counters {
  connectionsAccepted: number;
  /** Refused before anything was read, for whatever limit. */
  connectionsRefused: number;
  /** CONNACK with success. */
  connectsAccepted: number;
  connectsRefused: number;
  /** Connections ended because their client connected again, here or on another node. */
  takeovers: number;
  keepAliveTimeouts: number;
  /** Connections closed for a broken rule of the protocol. */
  protocolErrors: number;
  /** Connections closed by a fault of ours: each one is a bug. */
  internalErrors: number;
  messagesReceived: number;
  messagesDelivered: number;
  bytesReceived: number;
  bytesSent: number;
  /** Messages handed to the bus, and taken from it: once per matching filter of this node. */
  busPublished: number;
  busReceived: number;
  busReconnects: number;
  /** Requests of this node that NATS refused: permissions are missing, or a login has ended. */
  busRefused: number;
  /** Subscriptions for filters of clients among them. */
  busSubscriptionsRefused: number;
  /** Filters whose SUBACK said so. */
  subscribesRefused: number;
  /** Retained messages put in their place, removals included. */
  retainedStored: number;
  /** Retained messages for which there was no room. */
  retainedRefused: number;
  /** CONNECTs refused because there was no room for another session. */
  sessionsRefused: number;
  /** Retained messages sent to new subscriptions. */
  retainedDelivered: number;
  /** RETAIN flags of MQTT 3.x publishers on messages that were delivered but not retained. */
  retainIgnored: number;
  /** Messages stored in the log for clients of this node, and publishes that the log refused for good. */
  logStored: number;
  logRefused: number;
  /** Live messages whose predecessor was missing, and messages that were read from the log because no live copy came. */
  logHoles: number;
  logRepaired: number;
  /** Questions to the log that nobody answered. */
  logReadsFailed: number;
  sessionsResumed: number;
  /** Sessions whose unread messages had partly left the retention of the log. */
  sessionsTruncated: number;
  /** Sessions whose positions were of another log, or of one that was set back. */
  sessionsReset: number;
  /** Sessions of dead nodes that were given their end. */
  sessionsOrphaned: number;
  /** Times the node's own lease was over. */
  leasesLost: number;
  /** Wills stored for clients of this node. */
  willsStored: number;
  /** Wills published for clients that this node has or had, and for those of dead nodes. */
  willsPublished: number;
  willsOfDeadNodes: number;
  /** Delayed wills whose client was back in time. */
  willsCancelled: number;
  /** Consumers of groups that were gone while the group had members, and were made again. */
  groupsRemade: number;
  /** Sessions of this node that another owner took over without asking. */
  sessionsFenced: number;
  /** Addresses, and client ids at an address, that were jailed. */
  addressesJailed: number;
  clientsJailed: number;
  readonly limited: LimitCounters;
  /** Connections ended because the credentials of their client did. */
  credentialsExpired: number;
  readonly authentications: Readonly<Record<AuthenticationName, AuthenticationCounters>>;
  readonly dropped: DropCounters;
  readonly arrivalsFailed: ArrivalCounters;
  readonly denied: DenialCounters;
}

/** All zero. */
export function makeCounters(): Counters {
  return {
    connectionsAccepted: 0,
    connectionsRefused: 0,
    connectsAccepted: 0,
    connectsRefused: 0,
    takeovers: 0,
    keepAliveTimeouts: 0,
    protocolErrors: 0,
    internalErrors: 0,
    messagesReceived: 0,
    messagesDelivered: 0,
    bytesReceived: 0,
    bytesSent: 0,
    busPublished: 0,
    busReceived: 0,
    busReconnects: 0,
    busRefused: 0,
    busSubscriptionsRefused: 0,
    subscribesRefused: 0,
    retainedStored: 0,
    retainedRefused: 0,
    sessionsRefused: 0,
    retainedDelivered: 0,
    retainIgnored: 0,
    logStored: 0,
    logRefused: 0,
    logHoles: 0,
    logRepaired: 0,
    logReadsFailed: 0,
    sessionsResumed: 0,
    sessionsTruncated: 0,
    sessionsReset: 0,
    willsStored: 0,
    willsPublished: 0,
    willsOfDeadNodes: 0,
    willsCancelled: 0,
    sessionsFenced: 0,
    groupsRemade: 0,
    sessionsOrphaned: 0,
    leasesLost: 0,
    addressesJailed: 0,
    clientsJailed: 0,
    limited: {
      maxConnections: 0,
      maxConnectionsPerAddress: 0,
      connectsPerSecond: 0,
      connectsPerSecondPerAddress: 0,
      jailSeconds: 0,
      connectTimeoutSeconds: 0,
      jailReconnects: 0,
      maxConnectionsPerUser: 0,
      maxEventLoopDelayMs: 0,
      maxMemoryBytes: 0,
      maxClientIdBytes: 0,
      maxWillBytes: 0,
      publishesPerSecond: 0,
      publishBytesPerSecond: 0,
      maxConnectBytes: 0,
      maxPacketBytes: 0,
      receiveMaximum: 0,
      maxTopicBytes: 0,
      maxTopicLevels: 0,
      maxSubscriptionsPerClient: 0,
      maxGroups: 0,
    },
    credentialsExpired: 0,
    authentications: {
      scram: noAuthentications(),
      certificate: noAuthentications(),
      jwt: noAuthentications(),
      password: noAuthentications(),
      http: noAuthentications(),
      anonymous: noAuthentications(),
      chain: noAuthentications(),
    },
    dropped: {
      forbiddenTopic: 0,
      notAuthorized: 0,
      payloadInvalid: 0,
      busDisconnected: 0,
      tooLargeForBus: 0,
      notMqtt: 0,
      slowSubscriber: 0,
      tooLargeForSubscriber: 0,
      expired: 0,
      forgedSequence: 0,
      outOfRetention: 0,
    },
    arrivalsFailed: { proxyHeader: 0, tls: 0, upgrade: 0, timeout: 0, crowded: 0, left: 0 },
    denied: { publish: 0, subscribe: 0, will: 0, resume: 0, revoke: 0 },
  };
}

function noAuthentications(): AuthenticationCounters {
  return { accepted: 0, refused: 0, unavailable: 0 };
}
