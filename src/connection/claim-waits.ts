/** Bounds how many CONNECTs of one client id wait at a time for those before them, which may wait for a store that does not answer. */
import { MqttError, Reason } from '../mqtt/reason.ts';

/** Whoever waits and gives up is in the way of nobody, but stays here until those before it are done. */
const MAXIMUM = 64;

export class ClaimWaits {
  readonly #counts = new Map<string, number>();

  /** Calls `claim`, and counts it until it is settled. @throws MqttError 0x89 */
  async run<T>(clientId: string, claim: () => Promise<T>): Promise<T> {
    const count = this.#counts.get(clientId) ?? 0;
    if (count >= MAXIMUM)
      throw new MqttError(Reason.serverBusy, 'too many connections of this client wait for each other');
    this.#counts.set(clientId, count + 1);
    try {
      return await claim();
    } finally {
      this.#left(clientId);
    }
  }

  #left(clientId: string): void {
    const count = (this.#counts.get(clientId) ?? 1) - 1;
    if (count === 0) this.#counts.delete(clientId);
    else this.#counts.set(clientId, count);
  }
}
