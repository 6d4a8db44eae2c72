/** Addresses and networks, as text: `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`. */
import { isIP } from 'node:net';
import { type Format, FormatError } from './formats.ts';

const ADDRESS_BITS: Readonly<Record<number, number>> = { 4: 32, 6: 128 };

/** A list in YAML, comma-separated text in the environment. */
export const addressBlocks: Format<readonly string[]> = {
  allowed: 'a list of IP addresses and networks (address/length), separated by commas in the environment',
  read(value) {
    if (value === '') return [];
    const entries = typeof value === 'string' ? value.split(',').map((entry) => entry.trim()) : value;
    if (!Array.isArray(entries) || !entries.every(isBlock)) throw new FormatError('not allowed');
    return entries;
  },
};

function isBlock(entry: unknown): entry is string {
  if (typeof entry !== 'string') return false;
  const [address = '', length, ...more] = entry.split('/');
  const bits = ADDRESS_BITS[isIP(address)];
  if (bits === undefined || more.length > 0 || address.includes('%')) return false;
  return length === undefined || (/^\d{1,3}$/.test(length) && Number(length) <= bits);
}
