/** Addresses in one notation: a client has the same one in logs, in authentication and in limits, however it came. */
import { type BlockList, type Socket, SocketAddress } from 'node:net';

/** What IPv4 clients have as a prefix on a listener for both IPv4 and IPv6. Left there, limits per IPv6 network would count them all as one. */
const MAPPED_PREFIX = '::ffff:';

/** Empty on a Unix socket, and when the peer is gone already. */
export function addressOf({ remoteAddress = '' }: Socket): string {
  return plainAddress(remoteAddress);
}

/** IPv4 for an IPv6 address that stands for one, others as they are. */
export function plainAddress(address: string): string {
  return address.startsWith(MAPPED_PREFIX) && address.includes('.') ? address.slice(MAPPED_PREFIX.length) : address;
}

/** In the one short form of RFC 5952 that the kernel uses too. `address` is an IPv6 address. */
export function canonicalIPv6(address: string): string {
  return plainAddress(new SocketAddress({ address, family: 'ipv6' }).address);
}

/** Whether the list has the address, itself or in a network. */
export function isListed(list: BlockList, address: string): boolean {
  return list.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
}
