/** Filters of one SUBSCRIBE that the rules grant and the backplane refuses to the node: nothing would come, and the client has to know. */
import type { Subscription } from '../broker/interest.ts';
import type { SubscriptionRequest } from '../mqtt/packet.ts';
import { Reason } from '../mqtt/reason.ts';
import type { Connection } from './connection.ts';

export interface Entered {
  /** What was made of the requests that were granted. */
  readonly entered: ReadonlyMap<SubscriptionRequest, Subscription>;
  readonly refusals: Set<string>;
}

/** Takes them back and puts the reason into `codes`; called when the bus has confirmed, and before the session is saved. */
export function takeBackRefused(
  connection: Connection,
  requests: readonly SubscriptionRequest[],
  codes: number[],
  { entered, refusals }: Entered,
): void {
  const { node, sessionIfMade, subscriptions } = connection;
  if (connection.isClosed) return;
  for (const [index, request] of requests.entries()) {
    const subscription = entered.get(request);
    if (subscription === undefined || !isRefused(connection, subscription)) continue;
    codes[index] = Reason.notAuthorized;
    refusals.add('not authorized: the node may not subscribe to it');
    node.counters.subscribesRefused++;
    // Another request for the same filter has taken its place, and takes it back itself.
    if (subscriptions.get(subscription.text) !== subscription) continue;
    subscriptions.remove(subscription.text);
    sessionIfMade?.unsubscribe(subscription.text);
  }
}

/** What the bus has refused brings nothing; without live messages of the log stored ones would be late. */
function isRefused({ node: { bus, sessions }, sessionIfMade }: Connection, { filter, group }: Subscription): boolean {
  if (bus.refuses(filter, group)) return true;
  if (sessions === undefined || sessionIfMade?.readsLog !== true || group !== undefined) return false;
  return sessions.log.patterns(filter)?.some((pattern) => sessions.log.refuses(pattern)) === true;
}
