/** What the connections of a node share, made of the configuration and of the parts that server.ts has. */
import type { Authorizer } from '../access/authorizer.ts';
import type { NodeAdmission } from '../admission/admission.ts';
import type { Authenticator } from '../auth/authenticator.ts';
import { Delivery } from '../broker/deliver.ts';
import type { Backplane } from '../broker/ports.ts';
import { Publisher } from '../broker/publish.ts';
import { Subscriptions } from '../broker/subscriptions.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/config.ts';
import { availableCapabilities } from '../connection/capabilities.ts';
import { ClaimWaits } from '../connection/claim-waits.ts';
import type { Connections } from '../connection/connections.ts';
import type { ConnectionLimits, NodeContext } from '../connection/context.ts';
import { Denials } from '../connection/denials.ts';
import { IntakeBudget } from '../connection/intake-budget.ts';
import { WriteBatch } from '../connection/write-batch.ts';
import type { Counters } from '../counters.ts';
import type { Sessions } from '../session/sessions.ts';

export interface ContextOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: NodeContext['log'];
  readonly counters: Counters;
  readonly backplane: Backplane;
  readonly connections: Connections;
  readonly admission: NodeAdmission;
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  /** The sessions publish their wills through `publisher`; undefined where nothing is stored. */
  readonly makeSessions: (publisher: Publisher) => Sessions | undefined;
}

/** Once per node. */
export function makeContext(options: ContextOptions): NodeContext {
  const { admission, authenticator, authorizer, backplane, clock, config, connections, counters, log } = options;
  const { bus, cluster, groups } = backplane;
  const writes = new WriteBatch();
  const capabilities = availableCapabilities(config.mqtt, backplane.log !== undefined);
  const [ownInbox = ''] = config.nats.inboxPrefix.split('.');
  const publisher = new Publisher(bus, counters, {
    retained: capabilities.retainAvailable ? backplane.retained : undefined,
    ownInbox,
    limits: { maximumTopicBytes: config.limits.maxTopicBytes, maximumTopicLevels: config.limits.maxTopicLevels },
  });
  return {
    capabilities,
    clock,
    log,
    ownInbox,
    bus,
    cluster,
    claimWaits: new ClaimWaits(),
    sessions: options.makeSessions(publisher),
    subscriptions: new Subscriptions(bus, new Delivery(counters, writes.flush), groups !== undefined),
    counters,
    connections,
    admission,
    intakeBudget: new IntakeBudget(config.nats.maxInFlightBytes),
    writes,
    authenticator,
    bindsClientIds: config.auth.clientIdsBelongToUsers,
    authorizer,
    denials: new Denials(counters.denied, clock, log),
    publisher,
    limits: connectionLimits(config.limits),
  };
}

function connectionLimits(limits: Config['limits']): ConnectionLimits {
  return {
    maximumPacketSize: limits.maxPacketBytes,
    maximumConnectSize: Math.min(limits.maxConnectBytes || limits.maxPacketBytes, limits.maxPacketBytes),
    connectTimeoutSeconds: limits.connectTimeoutSeconds,
    maximumKeepAliveSeconds: limits.maxKeepAliveSeconds,
    maximumSubscriptions: limits.maxSubscriptionsPerClient,
    maximumOutboundBytes: limits.maxOutboundBytesPerClient,
    topicAliasMaximum: limits.topicAliasMaximum,
    outboundTopicAliasMaximum: limits.outboundTopicAliasMaximum,
    maximumClientIdBytes: limits.maxClientIdBytes,
    maximumSessionExpirySeconds: limits.maxSessionExpirySeconds,
    receiveMaximum: limits.receiveMaximum,
    publishesPerSecond: limits.publishesPerSecond,
    publishBytesPerSecond: limits.publishBytesPerSecond,
    maximumTopicBytes: limits.maxTopicBytes,
    maximumTopicLevels: limits.maxTopicLevels,
    maximumWillBytes: limits.maxWillBytes,
  };
}
