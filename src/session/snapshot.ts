/**
 * What of a session's state goes into its record: subscriptions that are in effect, deliveries that another node can go on with. `ceiling`:
 * positions behind it are of messages that the log has lost, and promise nothing.
 */
import type { Delivery } from './outbound.ts';
import type { OutboundRecord, SubscriptionRecord } from './record.ts';
import { nothingRetained, type RetainedCopies } from './retained-copies.ts';
import type { SessionSubscription } from './subscription.ts';

export function subscriptionRecords(
  subscriptions: Iterable<SessionSubscription>,
  retained: RetainedCopies,
  ceiling: number,
): SubscriptionRecord[] {
  return [...subscriptions]
    .filter(({ hasBegun }) => hasBegun)
    .map((subscription) => ({
      text: subscription.text,
      options: subscription.options,
      start: subscription.start,
      positions: subscription.readers.map(({ position }) => Math.min(position, ceiling)),
      // At QoS 0 what is not sent when the connection ends is not sent at all.
      ...(subscription.options.qos > 0 ? retained.progressOf(subscription) : nothingRetained),
    }));
}

/** PUBREL is owed in any case; a PUBLISH whose message the log has lost can not be sent again. */
export function outboundRecords(deliveries: Iterable<Delivery>, ceiling: number): OutboundRecord[] {
  const records = [...deliveries]
    // What a group has given with QoS 1 goes to another member when the connection ends.
    .filter(({ qos, shared }) => shared === undefined || qos === 2)
    .map(recordOf);
  // A retained copy that the log does not know is read anew by its subscription.
  return records.filter(({ sequence, state }) => state === 'released' || (sequence > 0 && sequence <= ceiling));
}

function recordOf({ packetId, qos, retained, sequence, shared, state }: Delivery): OutboundRecord {
  return {
    packetId,
    sequence,
    qos: qos === 2 ? 2 : 1,
    state: state === 'released' || state === 'releasing' ? 'released' : 'sent',
    isRetained: retained !== undefined,
    ...(shared === undefined ? {} : { shared: { text: shared.text, claim: shared.claim } }),
  };
}
