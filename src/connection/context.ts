/** What a connection needs of its node, made once by node/context.ts and shared by all connections. */
import type { Logger } from 'pino';
import type { Authorizer } from '../access/authorizer.ts';
import type { NodeAdmission } from '../admission/admission.ts';
import type { Authenticator } from '../auth/authenticator.ts';
import type { Bus, Cluster } from '../broker/ports.ts';
import type { Publisher } from '../broker/publish.ts';
import type { Subscriptions } from '../broker/subscriptions.ts';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import type { Sessions } from '../session/sessions.ts';
import type { Capabilities } from './capabilities.ts';
import type { ClaimWaits } from './claim-waits.ts';
import type { Connections } from './connections.ts';
import type { Denials } from './denials.ts';
import type { IntakeBudget } from './intake-budget.ts';
import type { WriteBatch } from './write-batch.ts';

/** Limits of one connection; sizes in bytes. */
export interface ConnectionLimits {
  readonly maximumPacketSize: number;
  /** Of CONNECT, of which nothing is known before it is there. */
  readonly maximumConnectSize: number;
  readonly connectTimeoutSeconds: number;
  /** 0 = no upper limit. */
  readonly maximumKeepAliveSeconds: number;
  readonly maximumSubscriptions: number;
  readonly maximumOutboundBytes: number;
  readonly topicAliasMaximum: number;
  /** Aliases that we set for a client which takes as many; 0 = none. */
  readonly outboundTopicAliasMaximum: number;
  readonly maximumClientIdBytes: number;
  /** Longest Session Expiry Interval granted. */
  readonly maximumSessionExpirySeconds: number;
  /** Messages of QoS 1 and 2 that a client may have under way to us. */
  readonly receiveMaximum: number;
  /** Of one client; above them it is read more slowly. 0 = no limit. */
  readonly publishesPerSecond: number;
  readonly publishBytesPerSecond: number;
  /** Of topic names and topic filters. */
  readonly maximumTopicBytes: number;
  readonly maximumTopicLevels: number;
  /** Topic, payload and properties together. */
  readonly maximumWillBytes: number;
}

export interface NodeContext {
  readonly limits: ConnectionLimits;
  readonly capabilities: Capabilities;
  readonly clock: Clock;
  readonly counters: Counters;
  readonly log: Logger;
  /** First level of the node's own inboxes, which no client may name. */
  readonly ownInbox: string;
  readonly bus: Bus;
  readonly cluster: Cluster;
  readonly claimWaits: ClaimWaits;
  /** Undefined: nothing is stored, Maximum QoS is 0. */
  readonly sessions: Sessions | undefined;
  readonly authenticator: Authenticator;
  /** A client id belongs to the user that has it. */
  readonly bindsClientIds: boolean;
  readonly authorizer: Authorizer;
  readonly denials: Denials;
  readonly publisher: Publisher;
  readonly subscriptions: Subscriptions;
  readonly connections: Connections;
  readonly admission: NodeAdmission;
  readonly intakeBudget: IntakeBudget;
  readonly writes: WriteBatch;
}
