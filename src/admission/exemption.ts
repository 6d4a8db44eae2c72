/** Addresses that limits per address do not hold for: balancers without PROXY protocol, gateways, load generators. */
import { BlockList, isIP } from 'node:net';

/** Says whether an address is in one of `blocks`: addresses, or networks as `address/length`. */
export function makeExemption(blocks: readonly string[]): (address: string) => boolean {
  if (blocks.length === 0) return () => false;
  const list = new BlockList();
  for (const block of blocks) {
    const [network = '', length] = block.split('/', 2);
    const family = isIP(network) === 6 ? 'ipv6' : 'ipv4';
    if (length === undefined) list.addAddress(network, family);
    else list.addSubnet(network, Number(length), family);
  }
  return (address) => list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}
