/**
 * Subscriptions of claims that were given up a moment ago. Whoever asks while a claim is given up would wait for an answer in vain, so its
 * subscription outlives it by a sweep or two; a client that comes back meanwhile gets it back.
 */
import type { Subscription } from 'nats';

export class LeftClaims {
  /** By client id: since the last sweep, and before it. */
  #left = new Map<string, Subscription>();
  #leftEarlier = new Map<string, Subscription>();

  keep(clientId: string, subscription: Subscription): void {
    this.#left.set(clientId, subscription);
  }

  take(clientId: string): Subscription | undefined {
    const subscription = this.#left.get(clientId) ?? this.#leftEarlier.get(clientId);
    this.#left.delete(clientId);
    this.#leftEarlier.delete(clientId);
    return subscription;
  }

  /** Called at intervals. On a closed connection there is nothing to unsubscribe. */
  sweep(isClosed: boolean): void {
    if (!isClosed) for (const subscription of this.#leftEarlier.values()) subscription.unsubscribe();
    this.#leftEarlier = this.#left;
    this.#left = new Map();
  }
}
