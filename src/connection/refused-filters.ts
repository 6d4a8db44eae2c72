/** Filters of one SUBSCRIBE that the rules grant and the backplane refuses to the node: nothing would come, and the client has to know. */
import type { Subscription } from '../broker/interest.ts';
import type { SubscriptionRefusal } from '../broker/ports.ts';
import type { SubscriptionRequest } from '../mqtt/packet.ts';
import { Reason } from '../mqtt/reason.ts';
import type { Connection } from './connection.ts';

/** [MQTT5 3.9.3] */
const ANSWERS: Record<SubscriptionRefusal, { readonly code: number; readonly text: string }> = {
  forbidden: { code: Reason.notAuthorized, text: 'not authorized: the node may not subscribe to it' },
  tooMany: { code: Reason.quotaExceeded, text: 'quota exceeded: the node may have no more subscriptions' },
};

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
    const refusal = subscription === undefined ? undefined : refusalOf(connection, subscription);
    if (subscription === undefined || refusal === undefined) continue;
    const { code, text } = ANSWERS[refusal];
    codes[index] = code;
    refusals.add(text);
    node.counters.subscribesRefused++;
    // Another request for the same filter has taken its place, and takes it back itself.
    if (subscriptions.get(subscription.text) !== subscription) continue;
    subscriptions.remove(subscription.text);
    sessionIfMade?.unsubscribe(subscription.text);
  }
}

/** What the bus has refused brings nothing; without live messages of the log stored ones would be late. */
function refusalOf(
  { node: { bus, sessions }, sessionIfMade }: Connection,
  { filter, group }: Subscription,
): SubscriptionRefusal | undefined {
  const refusal = bus.refusal(filter, group);
  if (refusal !== undefined) return refusal;
  if (sessions === undefined || sessionIfMade?.readsLog !== true || group !== undefined) return undefined;
  for (const pattern of sessions.log.patterns(filter) ?? []) {
    const ofLog = sessions.log.refusal(pattern);
    if (ofLog !== undefined) return ofLog;
  }
  return undefined;
}
