/** Who a client has proved to be. */
import type { AccessRule } from '../access/rule.ts';

export interface Identity {
  /** Empty = anonymous. */
  readonly username: string;
  /** What rules call the user's groups. */
  readonly groups: readonly string[];
  /** Rules that came with the credentials, before all others; undefined = none came. */
  readonly rules: readonly AccessRule[] | undefined;
  /** When the credentials end, in milliseconds since the epoch: the connection ends with them. Infinity = never. */
  readonly expiresAt: number;
}

export const anonymous: Identity = {
  username: '',
  groups: [],
  rules: undefined,
  expiresAt: Number.POSITIVE_INFINITY,
};

/** A user of whom no more than the name is known. */
export function userNamed(username: string): Identity {
  return { ...anonymous, username };
}
