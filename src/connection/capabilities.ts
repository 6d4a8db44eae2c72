/**
 * What this node offers its clients: configured, and possible with its backplane. Made once by node/context.ts; CONNACK says it, and every
 * packet is held to it.
 */
import { isPublishAllowed } from '../broker/walls.ts';
import type { ConnackOptions, QoS } from '../mqtt/packet.ts';
import { isTopicName } from '../mqtt/topic.ts';

export interface Capabilities {
  /** Highest QoS of a PUBLISH or will, and the highest granted. */
  readonly maximumQos: QoS;
  readonly retainAvailable: boolean;
  readonly wildcardSubscriptions: boolean;
  readonly subscriptionIdentifiers: boolean;
  /** `$share` and `$g`. */
  readonly sharedSubscriptions: boolean;
  /** `%c` stands for the client id; empty = not offered. */
  readonly responseInformation: string;
  /** A payload that says that it is UTF-8 has to be. */
  readonly checkPayloadFormat: boolean;
}

/** Everything the standards have. */
export const allCapabilities: Capabilities = {
  maximumQos: 2,
  retainAvailable: true,
  wildcardSubscriptions: true,
  subscriptionIdentifiers: true,
  sharedSubscriptions: true,
  responseInformation: '',
  checkPayloadFormat: false,
};

/** What is left of `configured` on a node that may store nothing. */
export function availableCapabilities(configured: Capabilities, hasLog: boolean): Capabilities {
  return hasLog ? configured : { ...configured, maximumQos: 0, retainAvailable: false };
}

/** Properties of CONNACK; what the client takes for granted is not said. [MQTT5 3.2.2-9] and MQTT5 sections 3.2.2.3.4 to 3.2.2.3.13 */
export function announced(capabilities: Capabilities): Omit<ConnackOptions, 'sessionPresent'> {
  const { maximumQos, retainAvailable, sharedSubscriptions, subscriptionIdentifiers, wildcardSubscriptions } =
    capabilities;
  return {
    ...(maximumQos === 2 ? {} : { maximumQoS: maximumQos }),
    ...(retainAvailable ? {} : { retainAvailable }),
    ...(wildcardSubscriptions ? {} : { wildcardSubscriptionAvailable: false }),
    ...(subscriptionIdentifiers ? {} : { subscriptionIdentifiersAvailable: false }),
    ...(sharedSubscriptions ? {} : { sharedSubscriptionAvailable: false }),
  };
}

/** Response Information for a client; undefined when there is none that it could publish to. */
export function responseInformationFor(
  clientId: string,
  { responseInformation }: Capabilities,
  ownInbox?: string,
): string | undefined {
  const text = responseInformation.replaceAll('%c', () => clientId);
  return isTopicName(text) && isPublishAllowed(text, ownInbox) ? text : undefined;
}
