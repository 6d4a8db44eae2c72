/** Claims as tests of the clusters make them. */
import type { Claimed, ClaimRequest, Cluster } from '../../src/broker/ports.ts';

/** Of a CONNECT that has come just now and stays; by nobody, and for nothing that is stored, unless told otherwise. */
export function claimAt<Found = void>(
  cluster: Cluster,
  request: Pick<ClaimRequest<Found>, 'clientId'> & Partial<ClaimRequest<Found>>,
): Promise<Claimed<Found> | undefined> {
  const nothing = async (): Promise<void> => {};
  const look = nothing as () => Promise<Found>; // without a look Found is void
  const isGone = (): boolean => false;
  return cluster.claim({ arrival: cluster.arrive(), user: '', yielded: nothing, isGone, look, ...request });
}
