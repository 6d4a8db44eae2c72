/**
 * Members of consumer groups (`$share/<name>/…`, `$g/<name>/…`) on the bus. Each member has its own place in the bus's queue group, so
 * that shares are fair however the members are spread over nodes. Stored messages reach members through the log (session/memberships.ts).
 */
import type { Delivery } from './deliver.ts';
import { Interest, type Subscription } from './interest.ts';
import type { Bus, Unsubscribe } from './ports.ts';

/**
 * Makes `subscription` a member of its group. A replaced member (same client, same group and filter) joins again before
 * it leaves: for a moment it counts twice, and no message finds the group empty. `skipsStored`: the member gets them from the log.
 */
export function subscribeMember(
  bus: Bus,
  delivery: Delivery,
  subscription: Subscription,
  skipsStored: boolean,
): Unsubscribe {
  const interest = new Interest(subscription.filter);
  interest.add(subscription);
  const leave = bus.subscribeGroup(subscription.group ?? '', subscription.filter, (topic, payload, extras) => {
    if (skipsStored && extras?.isStored === true) return;
    delivery.deliver(interest, topic, payload, extras);
  });
  return () => {
    delivery.settle(interest);
    leave();
    interest.remove(subscription);
  };
}
