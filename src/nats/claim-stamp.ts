/** What nodes say to each other of a client: when and where it connected, and whose it is. As text, so that NATS tools can show it. */
import type { ClaimStamp } from '../broker/ports.ts';
import { clientKey } from './session-store.ts';

/** A claim as it is asked with. */
export interface ClaimQuestion {
  readonly stamp: ClaimStamp;
  /** Of {@link tagOf}. */
  readonly userTag: string;
}

/** A hash of the user's name; empty = no user. */
export function tagOf(user: string): string {
  return user === '' ? '' : clientKey(user);
}

/** The tag is left out where there is no user. */
export function encodeQuestion({ stamp, userTag }: ClaimQuestion): string {
  return userTag === '' ? encodeStamp(stamp) : `${encodeStamp(stamp)} ${userTag}`;
}

/** Undefined for what no node has sent. */
export function decodeQuestion(text: string): ClaimQuestion | undefined {
  const [, stampText = '', userTag = ''] = /^(\S+ \S+ \S+)(?: ([\w-]{22}))?$/.exec(text) ?? [];
  const stamp = decodeStamp(stampText);
  return stamp === undefined ? undefined : { stamp, userTag };
}

export function encodeStamp({ connectedAt, incarnation, serial }: ClaimStamp): string {
  return `${connectedAt} ${incarnation} ${serial}`;
}

/** Undefined for what no node has sent. */
export function decodeStamp(text: string): ClaimStamp | undefined {
  const [, connectedAt, incarnation, serial] = /^(\d{1,16}) ([\w-]{1,64}) (\d{1,16})$/.exec(text) ?? [];
  if (connectedAt === undefined || incarnation === undefined || serial === undefined) return undefined;
  return { connectedAt: Number(connectedAt), incarnation, serial: Number(serial) };
}

/** Negative when `a` is the earlier one; never 0 for two claims. */
export function compareStamps(a: ClaimStamp, b: ClaimStamp): number {
  if (a.connectedAt !== b.connectedAt) return a.connectedAt - b.connectedAt;
  if (a.incarnation !== b.incarnation) return a.incarnation < b.incarnation ? -1 : 1;
  return a.serial - b.serial;
}
