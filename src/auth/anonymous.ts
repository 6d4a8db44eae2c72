/** The link that lets in whoever has nothing to show. */
import { accepted, type ChainLink, unknownClient } from './authenticator.ts';
import { anonymous } from './identity.ts';

const anybody = accepted(anonymous);

/**
 * `looksAtCredentials`: a client that shows a user name or a password is not let in, for it is somebody that no other link knows. Without
 * any other link nobody could tell, and nobody is asked.
 */
export function anonymousLink(looksAtCredentials: boolean): ChainLink {
  return {
    name: 'anonymous',
    judge: (_client, { password, username }) =>
      looksAtCredentials && (username !== undefined || password !== undefined) ? unknownClient : anybody,
  };
}
