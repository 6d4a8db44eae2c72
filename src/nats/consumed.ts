/** What the server says of a message that a consumer hands out, in its reply subject. Called for each of them: nothing is allocated that is kept. */

/** What the reply subject of a consumed message says. */
export interface Place {
  /** How often it was handed out, this time included. */
  deliveries: number;
  sequence: number;
  /** When it was stored: nanoseconds since the epoch, as exactly as a number can be. */
  stamp: number;
  /** Messages that match behind it. */
  pending: number;
}

const place: Place = { deliveries: 0, sequence: 0, stamp: 0, pending: 0 };

/**
 * `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<consumer's sequence>.<time>.<pending>[.<random>]`; undefined for
 * what is none. The object is the same each time.
 */
export function placeOf(reply: string): Place | undefined {
  if (!reply.startsWith('$JS.ACK.')) return undefined;
  const tokens = reply.split('.');
  const first = tokens.length === 9 ? 4 : 6;
  if (tokens.length < first + 5) return undefined;
  place.deliveries = Number(tokens[first]);
  place.sequence = Number(tokens[first + 1]);
  place.stamp = Number(tokens[first + 3]);
  place.pending = Number(tokens[first + 4]);
  return place.sequence > 0 ? place : undefined;
}
