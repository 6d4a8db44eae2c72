/**
 * What counts as one address: an IPv4 address, or the /64 of an IPv6 address, in which one host can have as many addresses as it likes.
 */
import { isIP } from 'node:net';

const GROUPS = 8;
const NETWORK_GROUPS = 4;
const MAPPED = 0xffff;

/** Empty for what is no IP address (a Unix socket): it counts as nobody's. */
export function addressKey(address: string): string {
  const version = isIP(address);
  if (version !== 6) return version === 4 ? address : '';
  const groups = groupsOf(address);
  const mapped = mappedAddress(groups);
  if (mapped !== undefined) return mapped;
  const network = groups.slice(0, NETWORK_GROUPS).map((group) => group.toString(16));
  return `${network.join(':')}::/64`;
}

/** The eight groups of a well-formed IPv6 address. */
function groupsOf(address: string): number[] {
  const [text = ''] = address.split('%', 1);
  const [head = '', tail] = text.split('::', 2);
  const before = readGroups(head);
  if (tail === undefined) return before;
  const after = readGroups(tail);
  return [...before, ...new Array<number>(GROUPS - before.length - after.length).fill(0), ...after];
}

/** The last group may be written as an IPv4 address, which is two. */
function readGroups(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
    return [a * 256 + b, c * 256 + d];
  });
}

/** An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) counts as what it is. */
function mappedAddress(groups: readonly number[]): string | undefined {
  const [high = 0, low = 0] = groups.slice(-2);
  if (groups[5] !== MAPPED || groups.slice(0, 5).some((group) => group !== 0)) return undefined;
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
}
