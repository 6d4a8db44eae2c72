/**
 * Of two CONNECTs of one client to one node the later one keeps it, although it may have been judged faster and have claimed first. Used by
 * both clusters.
 */
import type { Claimed, ClaimRequest } from './ports.ts';

/** Whoever has the client. */
interface Holder {
  readonly user: string;
  readonly arrival: number;
  readonly isGone: () => boolean;
}

/** Whether a claim comes too late. Nobody is in the way of a user, whenever he came. `user`: of both a name, or of both a tag. */
export function isOvertaken(holder: Holder, user: string, arrival: number): boolean {
  return holder.arrival > arrival && holder.user === user && !holder.isGone();
}

/** The connection ends as if it had been taken over. */
export function overtaken<Found>({ look, yielded }: ClaimRequest<Found>): Claimed<Found> {
  void yielded();
  const found = look();
  found.catch(nothing);
  return { claim: { release: nothing }, found };
}

function nothing(): void {}
