/**
 * The PROXY protocol, versions 1 and 2, as a pure function: what a balancer says of its client before the client's first byte. Strict:
 * nothing that the specification (haproxy, doc/proxy-protocol.txt) does not allow is read as a header. Only stream protocols exist for us.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { canonicalIPv6 } from './address.ts';
import { ProxyHeaderError } from './proxy-header-error.ts';
import { readCommonName } from './proxy-tlv.ts';

/** The whole line of version 1, CR and LF included. */
const MAXIMUM_LINE_BYTES = 107;
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const FIXED_BYTES = 16;
/** All of version 2, addresses and TLVs. The specification lets a receiver stop at 536; balancers can be made to say more than that. */
const MAXIMUM_BYTES = 4_096;
const VERSION_2_LOCAL = 0x20;
const VERSION_2_PROXY = 0x21;

export interface ProxyHeader {
  /** Length of the header in bytes. */
  readonly length: number;
  /** Absent: the connection is the balancer's own, or it cannot say whose it is. */
  readonly source?: { readonly address: string; readonly port: number } | undefined;
  /** Of a client certificate that the balancer has verified. */
  readonly commonName?: string | undefined;
}

/** The header at the start of `bytes`; undefined while more of it has to come. @throws ProxyHeaderError */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length === 0) return undefined;
  return bytes[0] === SIGNATURE[0] ? parseBinary(bytes) : parseLine(bytes);
}

function parseLine(bytes: Buffer): ProxyHeader | undefined {
  const begin = 'PROXY ';
  if (!begin.startsWith(bytes.toString('latin1', 0, Math.min(bytes.length, begin.length)))) fail('no PROXY header');
  const end = bytes.subarray(0, MAXIMUM_LINE_BYTES).indexOf('\r\n');
  if (end < 0) return bytes.length < MAXIMUM_LINE_BYTES ? undefined : fail('a PROXY line of more than 107 bytes');
  const length = end + 2;
  const [protocol = '', source = '', destination = '', sourcePort = '', destinationPort = '', ...more] = bytes
    .toString('latin1', begin.length, end)
    .split(' ');
  // What comes behind UNKNOWN is to be ignored.
  if (protocol === 'UNKNOWN') return { length };
  const isAddress = protocol === 'TCP4' ? isIPv4 : protocol === 'TCP6' ? isPlainIPv6 : () => false;
  if (more.length > 0 || !isAddress(source) || !isAddress(destination)) fail('a PROXY line with bad addresses');
  const address = protocol === 'TCP6' ? canonicalIPv6(source) : source;
  readPort(destinationPort);
  return { length, source: { address, port: readPort(sourcePort) } };
}

/** Without the zone that node allows. */
function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%');
}

function readPort(text: string): number {
  const port = /^(?:0|[1-9]\d{0,4})$/.test(text) ? Number(text) : 65_536;
  return port <= 65_535 ? port : fail('a PROXY line with bad ports');
}

function parseBinary(bytes: Buffer): ProxyHeader | undefined {
  const seen = Math.min(bytes.length, SIGNATURE.length);
  if (bytes.compare(SIGNATURE, 0, seen, 0, seen) !== 0) fail('no PROXY header');
  const command = bytes[12];
  if (command !== undefined && command !== VERSION_2_LOCAL && command !== VERSION_2_PROXY)
    fail('a PROXY header of another version or command');
  if (bytes.length < FIXED_BYTES) return undefined;
  const length = FIXED_BYTES + bytes.readUInt16BE(14);
  if (length > MAXIMUM_BYTES) fail(`a PROXY header of more than ${MAXIMUM_BYTES} bytes`);
  const family = bytes[13] ?? 0;
  const addressBytes = command === VERSION_2_LOCAL ? 0 : addressBytesOf(family);
  if (length < FIXED_BYTES + addressBytes) fail('a PROXY header that is too short for its addresses');
  if (bytes.length < length) return undefined;
  // A connection of the balancer itself, such as a health check.
  if (command === VERSION_2_LOCAL) return { length };
  const commonName = readCommonName(bytes.subarray(FIXED_BYTES + addressBytes, length));
  return { length, commonName, source: readSource(bytes, family) };
}

/** TCP over IPv4, over IPv6, Unix stream sockets, and what the balancer does not know. */
const addressBytesByFamily: Readonly<Record<number, number>> = { 0: 0, 17: 12, 33: 36, 49: 216 };

function addressBytesOf(family: number): number {
  return addressBytesByFamily[family] ?? fail('a PROXY header of another kind than a stream');
}

function readSource(bytes: Buffer, family: number): ProxyHeader['source'] {
  if (family === 0x11)
    return { address: bytes.subarray(FIXED_BYTES, FIXED_BYTES + 4).join('.'), port: bytes.readUInt16BE(24) };
  if (family !== 0x21) return undefined;
  const groups = bytes.toString('hex', FIXED_BYTES, FIXED_BYTES + 16).match(/.{4}/g) ?? [];
  return { address: canonicalIPv6(groups.join(':')), port: bytes.readUInt16BE(48) };
}

function fail(text: string): never {
  throw new ProxyHeaderError(text);
}
