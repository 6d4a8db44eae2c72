/** The PROXY header, versions 1 and 2: what is read from it, cut anywhere, and what is no header. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ProxyHeader, parseProxyHeader } from '../../../src/transport/proxy-header.ts';
import { ProxyHeaderError } from '../../../src/transport/proxy-header-error.ts';
import { binaryHeader, sslTlv, tlv } from '../../support/proxy-header.ts';

const BEHIND = Buffer.from('\x10\x0c\0\x04MQTT', 'latin1');
const ipv4 = { family: 0x11, addresses: Buffer.from('c0000201c6336402d9040752', 'hex') };
const ipv6 = {
  family: 0x21,
  addresses: Buffer.from(`${'20010db8000000000000000000000001'.repeat(2)}d9040752`, 'hex'),
};
const mapped = {
  family: 0x21,
  addresses: Buffer.from(`${'00000000000000000000ffffc0000201'.repeat(2)}d9040752`, 'hex'),
};

function line(text: string): Buffer {
  return Buffer.from(`${text}\r\n`, 'latin1');
}

type Expected = Omit<ProxyHeader, 'length'>;

const client = { address: '192.0.2.1', port: 55_556 };
const headers: ReadonlyArray<[title: string, bytes: Buffer, expected: Expected]> = [
  ['TCP4', line('PROXY TCP4 192.0.2.1 198.51.100.2 55556 1883'), { source: client }],
  ['TCP6', line('PROXY TCP6 2001:DB8:0:0::1 ::1 55556 1883'), { source: { address: '2001:db8::1', port: 55_556 } }],
  ['TCP6, an IPv4 address in it', line('PROXY TCP6 ::ffff:192.0.2.1 ::1 55556 1883'), { source: client }],
  ['UNKNOWN', line('PROXY UNKNOWN'), {}],
  ['UNKNOWN, the longest line', line(`PROXY UNKNOWN ${'f'.repeat(91)}`), {}],
  ['binary TCP4', binaryHeader(ipv4), { source: client }],
  ['binary TCP6', binaryHeader(ipv6), { source: { address: '2001:db8::1', port: 55_556 } }],
  ['binary TCP6, an IPv4 address in it', binaryHeader(mapped), { source: client }],
  ['binary LOCAL', binaryHeader({ ...ipv4, command: 0x20 }), {}],
  ['binary LOCAL without addresses', binaryHeader({ command: 0x20, family: 0 }), {}],
  ['binary UNSPEC', binaryHeader({ family: 0 }), {}],
  ['binary, a Unix socket', binaryHeader({ family: 0x31, addresses: Buffer.alloc(216) }), {}],
  ['binary, other TLVs', binaryHeader({ ...ipv4, tlvs: tlv(0x01, 'h2') }), { source: client }],
  [
    'a verified certificate',
    binaryHeader({ ...ipv4, tlvs: sslTlv({ name: 'device é' }) }),
    { source: client, commonName: 'device é' },
  ],
  [
    'a certificate of an earlier connection',
    binaryHeader({ ...ipv4, tlvs: sslTlv({ flags: 5, name: 'd' }) }),
    { source: client, commonName: 'd' },
  ],
  [
    'a certificate that is not verified',
    binaryHeader({ ...ipv4, tlvs: sslTlv({ verify: 1, name: 'd' }) }),
    { source: client },
  ],
  [
    'a name without a certificate',
    binaryHeader({ ...ipv4, tlvs: sslTlv({ flags: 1, name: 'd' }) }),
    { source: client },
  ],
];

describe('proxy header', () => {
  for (const [title, bytes, expected] of headers) {
    test(`${title}: read whole, from any number of pieces, and nothing behind it is touched`, () => {
      for (let cut = 0; cut < bytes.length; cut++) assert.equal(parseProxyHeader(bytes.subarray(0, cut)), undefined);
      for (const whole of [bytes, Buffer.concat([bytes, BEHIND])]) {
        const header = parseProxyHeader(whole);
        assert.ok(header !== undefined);
        assert.deepEqual({ ...header }, { ...header, ...expected, length: bytes.length });
        assert.deepEqual([header.source, header.commonName], [expected.source, expected.commonName]);
      }
    });
  }

  const bad: ReadonlyArray<[title: string, bytes: Buffer]> = [
    ['CONNECT', BEHIND],
    ['TLS', Buffer.from('16030100', 'hex')],
    ['HTTP', line('POST / HTTP/1.1')],
    ['another word', line('PROXX TCP4 192.0.2.1 198.51.100.2 1 2')],
    ['small letters', line('proxy TCP4 192.0.2.1 198.51.100.2 1 2')],
    ['a line of 108 bytes', line(`PROXY UNKNOWN ${'f'.repeat(92)}`)],
    ['a line without end', Buffer.from(`PROXY UNKNOWN ${'f'.repeat(93)}`)],
    ['an address of the other family', line('PROXY TCP4 2001:db8::1 2001:db8::2 1 2')],
    ['an address with a zone', line('PROXY TCP6 fe80::1%eth0 ::1 1 2')],
    ['an address with leading zeros', line('PROXY TCP4 192.0.2.01 198.51.100.2 1 2')],
    ['a host name', line('PROXY TCP4 localhost 198.51.100.2 1 2')],
    ['a port too large', line('PROXY TCP4 192.0.2.1 198.51.100.2 65536 2')],
    ['a port with a sign', line('PROXY TCP4 192.0.2.1 198.51.100.2 +1 2')],
    ['a bad second port', line('PROXY TCP4 192.0.2.1 198.51.100.2 1 x')],
    ['two spaces', line('PROXY TCP4  192.0.2.1 198.51.100.2 1 2')],
    ['a word too many', line('PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3')],
    ['another protocol', line('PROXY UDP4 192.0.2.1 198.51.100.2 1 2')],
    ['binary, version 1', binaryHeader({ ...ipv4, command: 0x11 })],
    ['binary, another command', binaryHeader({ ...ipv4, command: 0x22 })],
    ['binary, datagrams', binaryHeader({ ...ipv4, family: 0x12 })],
    ['binary, another family', binaryHeader({ ...ipv4, family: 0x41 })],
    ['binary, too short for its addresses', binaryHeader({ family: 0x11, addresses: Buffer.alloc(11) })],
    ['binary, a TLV that is cut off', binaryHeader({ ...ipv4, tlvs: tlv(0x01, 'h2').subarray(0, 4) })],
    ['binary, a TLV without length', binaryHeader({ ...ipv4, tlvs: Buffer.from([0x01, 0]) })],
    ['binary, an SSL TLV that is cut off', binaryHeader({ ...ipv4, tlvs: tlv(0x20, 'abc') })],
    ['binary, a name that is no UTF-8', binaryHeader({ ...ipv4, tlvs: sslTlv({ name: Buffer.from([0xff]) }) })],
    ['binary, a name with a line feed', binaryHeader({ ...ipv4, tlvs: sslTlv({ name: 'a\nb' }) })],
    ['binary, more than 4096 bytes', binaryHeader({ ...ipv4, tlvs: tlv(0x04, Buffer.alloc(4_096)) }).subarray(0, 16)],
  ];
  for (const [title, bytes] of bad) {
    test(`${title}: no header, and nothing more is waited for`, () => {
      assert.throws(() => parseProxyHeader(bytes), ProxyHeaderError);
    });
  }

  test('whatever comes is a header, the beginning of one, or refused', () => {
    const begin = fc.constantFrom(Buffer.alloc(0), Buffer.from('PROXY '), ...headers.map(([, bytes]) => bytes));
    fc.assert(
      fc.property(begin, fc.nat(60), fc.uint8Array({ maxLength: 300 }), (first, keep, rest) => {
        const bytes = Buffer.concat([first.subarray(0, keep), rest]);
        try {
          const header = parseProxyHeader(bytes);
          // What is waited for is bounded.
          if (header === undefined) assert.ok(bytes.length < 4_096);
          else assert.ok(header.length <= bytes.length);
        } catch (error) {
          assert.ok(error instanceof ProxyHeaderError);
        }
      }),
    );
  });
});
