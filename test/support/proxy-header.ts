/** PROXY headers of version 2 made by hand, right and wrong ones. */

export interface BinaryHeader {
  readonly command?: number;
  readonly family: number;
  readonly addresses?: Buffer;
  readonly tlvs?: Buffer;
}

const SIGNATURE = '0d0a0d0a000d0a515549540a';

export function binaryHeader({
  addresses = Buffer.alloc(0),
  command = 0x21,
  family,
  tlvs = Buffer.alloc(0),
}: BinaryHeader): Buffer {
  const fixed = Buffer.from([command, family, 0, 0]);
  fixed.writeUInt16BE(addresses.length + tlvs.length, 2);
  return Buffer.concat([Buffer.from(SIGNATURE, 'hex'), fixed, addresses, tlvs]);
}

/** TCP over IPv4 from `address` and `port`. */
export function binaryHeaderOf(address: string, port: number, tlvs?: Buffer): Buffer {
  const addresses = Buffer.from([...address.split('.').map(Number), 127, 0, 0, 1, 0, 0, 7, 91]);
  addresses.writeUInt16BE(port, 8);
  return binaryHeader({ family: 0x11, addresses, ...(tlvs === undefined ? {} : { tlvs }) });
}

export function tlv(type: number, value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([type, bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

/** What a balancer says of its client's TLS. `flags`: 1 TLS, 2 a certificate on this connection, 4 earlier in the session. */
export function sslTlv({
  flags = 3,
  name,
  verify = 0,
}: {
  flags?: number;
  verify?: number;
  name: string | Buffer;
}): Buffer {
  const fixed = Buffer.from([flags, 0, 0, 0, verify]);
  return tlv(0x20, Buffer.concat([fixed, tlv(0x21, 'TLSv1.3'), tlv(0x22, name)]));
}
