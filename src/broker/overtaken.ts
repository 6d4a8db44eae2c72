/** What becomes of a claim whose client has connected again, and was judged faster, before the claim was made. Used by both clusters. */
import type { Claimed, ClaimRequest } from './ports.ts';

/** The connection ends as if it had been taken over. */
export function overtaken<Found>({ look, yielded }: ClaimRequest<Found>): Claimed<Found> {
  void yielded();
  const found = look();
  found.catch(nothing);
  return { claim: { release: nothing }, found };
}

function nothing(): void {}
