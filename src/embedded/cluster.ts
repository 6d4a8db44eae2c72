/**
 * The Cluster of one process: takeovers happen here or nowhere. Claims of one client id form a chain: each waits until
 * everyone before it has yielded, those included that were themselves still waiting.
 */
import { isOvertaken, overtaken } from '../broker/overtaken.ts';
import type { Claimed, ClaimRequest, Cluster } from '../broker/ports.ts';

interface Holder {
  readonly user: string;
  readonly arrival: number;
  readonly isGone: () => boolean;
  readonly yielded: () => Promise<void>;
  /** Resolves once nobody before this holder has the client. */
  readonly cleared: Promise<void>;
}

/** One live connection per client id in this process. */
export class EmbeddedCluster implements Cluster {
  readonly #holders = new Map<string, Holder>();
  #arrivals = 0;

  arrive(): number {
    return ++this.#arrivals;
  }

  async claim<Found>(request: ClaimRequest<Found>): Promise<Claimed<Found> | undefined> {
    const { arrival, clientId, isGone, look, user, yielded } = request;
    const previous = this.#holders.get(clientId);
    if (previous !== undefined && previous.user !== '' && previous.user !== user) return undefined;
    if (previous !== undefined && isOvertaken(previous, user, arrival)) return overtaken(request);
    const holder: Holder = { user, arrival, isGone, yielded, cleared: clear(previous) };
    this.#holders.set(clientId, holder);
    const release = (): void => {
      if (this.#holders.get(clientId) === holder) this.#holders.delete(clientId);
    };
    try {
      await holder.cleared;
    } catch (cause) {
      // No claim was given out that could be released.
      release();
      throw cause;
    }
    const found = look();
    found.catch(nothing);
    return { claim: { release }, found };
  }

  async close(): Promise<void> {
    this.#holders.clear();
  }
}

function nothing(): void {}

async function clear(previous: Holder | undefined): Promise<void> {
  if (previous !== undefined) await Promise.all([previous.cleared, previous.yielded()]);
}
