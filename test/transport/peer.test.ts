/** Who a transport says is at the other end: what a client certificate says of its owner, shown to us or to a trusted balancer. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { BlockList, connect } from 'node:net';
import { after, test } from 'node:test';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { WebSocket } from 'ws';
import { systemClock } from '../../src/clock.ts';
import { Arrivals } from '../../src/transport/arrivals.ts';
import { alternativeNames } from '../../src/transport/certificate.ts';
import type { Admission, Listener, Peer, Transport } from '../../src/transport/listener.ts';
import { listenTcp } from '../../src/transport/tcp.ts';
import { listenWebSocket } from '../../src/transport/ws.ts';
import { Authority } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { binaryHeaderOf, sslTlv } from '../support/proxy-header.ts';

const authority = new Authority();
const server = authority.issue('server');
const names = 'DNS:device-1.example.com,DNS:*.example.com,URI:urn:device:1,email:one@example.com,IP:192.0.2.1';
const device = authority.issue('device-1', names);
const arrivals = new Arrivals({ clock: systemClock, maximum: 10, timeoutMilliseconds: 5_000, failed: () => {} });
after(() => {
  arrivals.end();
  authority.remove();
});

const loopback = new BlockList();
loopback.addAddress('127.0.0.1');

const described = {
  commonName: 'device-1',
  dns: ['device-1.example.com', '*.example.com'],
  uri: ['urn:device:1'],
  email: ['one@example.com'],
  fingerprint256: new X509Certificate(device.cert).fingerprint256,
};
const told = { commonName: 'told', dns: [], uri: [], email: [], fingerprint256: '', isFromBalancer: true };

interface Started {
  readonly listener: Listener;
  readonly accepted: Transport[];
  readonly admitted: string[];
  readonly left: string[];
}

async function start(kind: 'tcp' | 'tls' | 'wss', trusted?: BlockList): Promise<Started> {
  const accepted: Transport[] = [];
  const admitted: string[] = [];
  const left: string[] = [];
  const admission: Admission = {
    admit: (address) => admitted.push(address) > 0,
    left: (address) => left.push(address),
    failed: () => {},
  };
  const material = { cert: server.cert, key: server.key, ca: [authority.cert] };
  const tls = { material, minVersion: 'TLSv1.2', clientCertificate: 'optional' } as const;
  const base = { host: '127.0.0.1', port: 0, backlog: 10, admission, arrivals, trusted };
  const accept = (transport: Transport): void => {
    accepted.push(transport);
    transport.start({ data: () => {}, drain: () => {}, closed: () => {} });
  };
  if (kind === 'tcp') return { listener: await listenTcp(base, accept), accepted, admitted, left };
  if (kind === 'tls') return { listener: await listenTcp({ ...base, tls }, accept), accepted, admitted, left };
  const options = { ...base, tls, path: '/mqtt', maximumFrameBytes: 1_000 };
  return { listener: await listenWebSocket(options, accept), accepted, admitted, left };
}

/** The peer of one connection, asked while it is open; then it is closed. */
async function peerOf({ accepted, listener }: Started, client: ConnectionOptions = {}, header?: Buffer): Promise<Peer> {
  const raw = connect({ port: listener.port, host: '127.0.0.1' });
  if (header !== undefined) raw.write(header);
  const options = { socket: raw, ca: authority.cert, host: '127.0.0.1', ...client };
  if (listener.name === 'wss') {
    const socket = new WebSocket('ws://127.0.0.1/mqtt', ['mqtt'], { createConnection: () => connectTls(options) });
    await once(socket, 'open');
  } else if (listener.name === 'tls') await once(connectTls(options), 'secureConnect');
  await eventually(() => accepted.length > 0, 'the connection is accepted');
  const [transport] = accepted.splice(0);
  assert.ok(transport !== undefined);
  const { address, certificate, listener: name, port } = transport.peer;
  // For log lines, which have no use for it.
  assert.deepEqual(JSON.parse(JSON.stringify(transport.peer)), { address, listener: name, port });
  raw.destroy();
  return { address, certificate, listener: name, port };
}

for (const kind of ['tls', 'wss'] as const) {
  test(`peer - ${kind}: a verified certificate with its names, and nothing without one`, async () => {
    const started = await start(kind);
    assert.deepEqual((await peerOf(started, { cert: device.cert, key: device.key })).certificate, described);
    assert.equal((await peerOf(started)).certificate, undefined);
    await started.listener.close();
  });

  test(`peer - ${kind}: what a balancer tells of a certificate counts where the client has shown us none`, async () => {
    const started = await start(kind, loopback);
    const header = binaryHeaderOf('192.0.2.1', 5_000, sslTlv({ name: 'told' }));
    assert.deepEqual(await peerOf(started, {}, header), {
      address: '192.0.2.1',
      port: 5_000,
      listener: kind,
      certificate: told,
    });
    const own = { cert: device.cert, key: device.key };
    assert.deepEqual((await peerOf(started, own, header)).certificate, described);
    await started.listener.close();
  });
}

test('peer - a certificate told by a balancer, without TLS of ours; a log line does not carry it', async () => {
  const started = await start('tcp', loopback);
  const peer = await peerOf(started, {}, binaryHeaderOf('192.0.2.1', 5_000, sslTlv({ name: 'told' })));
  assert.deepEqual(peer.certificate, told);
  const unverified = binaryHeaderOf('192.0.2.1', 5_000, sslTlv({ name: 'told', verify: 10 }));
  assert.equal((await peerOf(started, {}, unverified)).certificate, undefined);
  await started.listener.close();
});

test('peer - admission hears of the client behind the header, and once of its end, on each kind of listener', async () => {
  for (const kind of ['tcp', 'tls', 'wss'] as const) {
    const started = await start(kind, loopback);
    await peerOf(started, {}, binaryHeaderOf('192.0.2.1', 5_000));
    await eventually(() => started.left.length > 0, 'the socket is closed');
    assert.deepEqual([started.admitted, started.left], [['192.0.2.1'], ['192.0.2.1']]);
    await started.listener.close();
    const direct = await start(kind);
    await peerOf(direct);
    await eventually(() => direct.left.length > 0, 'the socket is closed');
    assert.deepEqual([direct.admitted, direct.left], [['127.0.0.1'], ['127.0.0.1']]);
    await direct.listener.close();
  }
});

test('peer - a name that is made to look like several is one name', () => {
  assert.deepEqual(
    alternativeNames('DNS:"evil.example, DNS:good.example", URI:urn:x, othername:<unsupported>, email:a@b'),
    {
      dns: ['evil.example, DNS:good.example'],
      uri: ['urn:x'],
      email: ['a@b'],
    },
  );
});
