/** The Cluster of one process: takeovers happen here or nowhere. */
import type { Claim, Cluster } from '../broker/ports.ts';

interface Holder {
  readonly yielded: () => void;
}

export class EmbeddedCluster implements Cluster {
  readonly #holders = new Map<string, Holder>();

  async claim(clientId: string, yielded: () => void): Promise<Claim> {
    const previous = this.#holders.get(clientId);
    const holder: Holder = { yielded };
    this.#holders.set(clientId, holder);
    previous?.yielded();
    return {
      release: () => {
        if (this.#holders.get(clientId) === holder) this.#holders.delete(clientId);
      },
    };
  }

  async close(): Promise<void> {
    this.#holders.clear();
  }
}
