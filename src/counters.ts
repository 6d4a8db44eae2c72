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
  /** Refused before CONNECT was read: the node was full. */
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
  /** Retained messages put in their place, removals included. */
  retainedStored: number;
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
  readonly dropped: DropCounters;
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
    retainedStored: 0,
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
    denied: { publish: 0, subscribe: 0, will: 0, resume: 0, revoke: 0 },
  };
}
