/** The TLVs behind the addresses of a PROXY header of version 2: only what the balancer says of the client's certificate is used. */
import { ProxyHeaderError } from './proxy-header-error.ts';

const TYPE_SSL = 0x20;
const TYPE_SSL_COMMON_NAME = 0x22;
/** Flags: the client has shown a certificate, on this connection or earlier in its TLS session. */
const HAS_CERTIFICATE = 0x02 | 0x04;
/** Flags and the result of the verification. */
const SSL_FIXED_BYTES = 5;

/** Common name of the client's certificate; undefined when there is none, or none that the balancer has verified. @throws ProxyHeaderError */
export function readCommonName(bytes: Buffer): string | undefined {
  let commonName: string | undefined;
  for (const { type, value } of tlvs(bytes)) if (type === TYPE_SSL) commonName = nameIn(value);
  return commonName;
}

function nameIn(bytes: Buffer): string | undefined {
  if (bytes.length < SSL_FIXED_BYTES) fail('a PROXY header with a TLV that is cut off');
  const isVerified = ((bytes[0] ?? 0) & HAS_CERTIFICATE) !== 0 && bytes.readUInt32BE(1) === 0;
  let commonName: string | undefined;
  for (const { type, value } of tlvs(bytes.subarray(SSL_FIXED_BYTES)))
    if (type === TYPE_SSL_COMMON_NAME) commonName = textOf(value);
  return isVerified ? commonName : undefined;
}

function* tlvs(bytes: Buffer): Generator<{ readonly type: number; readonly value: Buffer }> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 3 <= bytes.length ? at + 3 + bytes.readUInt16BE(at + 1) : Number.POSITIVE_INFINITY;
    if (end > bytes.length) fail('a PROXY header with a TLV that is cut off');
    yield { type: bytes[at] ?? 0, value: bytes.subarray(at + 3, end) };
    at = end;
  }
}

/** A name that is not what it looks like is nobody's. */
function textOf(value: Buffer): string {
  const text = value.toString('utf8');
  if (text === '' || !Buffer.from(text, 'utf8').equals(value) || /\p{Cc}/u.test(text))
    fail('a PROXY header with a bad common name');
  return text;
}

function fail(text: string): never {
  throw new ProxyHeaderError(text);
}
