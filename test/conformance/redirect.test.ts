/** A stopping node that names another server: clients are sent there, those too that were about to connect. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IConnackPacket, IDisconnectPacket } from 'mqtt-packet';
import { systemClock } from '../../src/clock.ts';
import { makeLog } from '../../src/log.ts';
import { Reason, RedirectError } from '../../src/mqtt/reason.ts';
import { startDeployment, testEmbedded } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { startWiredNode } from '../support/wired-node.ts';

const reference = { SUPERMQ_DRAIN_SERVER_REFERENCE: 'a.example:1884, [::1]:1885,b.example' };
const told = 'a.example:1884 [::1]:1885 b.example';

async function lastWord(client: RawClient): Promise<IConnackPacket | IDisconnectPacket | undefined> {
  await client.closed;
  const packet = client.received[0];
  return packet?.cmd === 'connack' || packet?.cmd === 'disconnect' ? packet : undefined;
}

/** Connections that the node knows of and whose CONNECT has not come. */
async function openSilently(node: TestNode, ...versions: ReadonlyArray<3 | 4 | 5>): Promise<RawClient[]> {
  const before = node.counters.connectionsAccepted;
  const clients = await Promise.all(versions.map((version) => RawClient.open(node.tcp, version)));
  while (node.counters.connectionsAccepted < before + versions.length) await new Promise(setImmediate);
  return clients;
}

for (const [permanent, code] of [
  ['false', 0x9c],
  ['true', 0x9d],
] as const) {
  test(`[MQTT5 §4.11 server-reference] [MQTT5 §4.11 closes] [MQTT5 §3.2.2.3.16] [MQTT5 §3.14.2.1 causes] drain.permanent ${permanent}: DISCONNECT and CONNACK 0x${code.toString(16)} with the Server Reference; MQTT 3.x is closed, or refused with 0x03`, async () => {
    const node = await startDeployment({ ...reference, SUPERMQ_DRAIN_PERMANENT: permanent });
    const five = await RawClient.connect(node.tcp, { version: 5 });
    const four = await RawClient.connect(node.tcp, { version: 4 });
    const late = await openSilently(node, 5, 4, 3);
    const stopping = node.stop();
    const disconnect = await lastWord(five);
    assert.deepEqual([disconnect?.cmd, disconnect?.reasonCode], ['disconnect', code]);
    assert.equal(disconnect?.properties?.serverReference, told);
    assert.equal(await lastWord(four), undefined);
    for (const client of late) client.send(connectPacket({ version: client.version, keepalive: 0 }));
    const [connack, ...older] = await Promise.all(late.map(lastWord));
    assert.deepEqual([connack?.cmd, connack?.reasonCode], ['connack', code]);
    assert.equal(connack?.properties?.serverReference, told);
    for (const packet of older) assert.equal(packet?.cmd === 'connack' && packet.returnCode, 3);
    await stopping;
    await assert.rejects(RawClient.open(node.tcp), { code: 'ECONNREFUSED' });
  });
}

test('[MQTT5 §4.11 server-reference] a stopping node waits for CONNECT as long as a moment, not as long as a silent connection lives', async () => {
  const node = await startDeployment(reference);
  const [silent] = await openSilently(node, 5);
  const before = performance.now();
  await node.stop();
  assert.ok(performance.now() - before < 4_000);
  await silent?.closed;
  assert.deepEqual(silent?.received, []);
});

testEmbedded(
  '[MQTT5 §4.11 server-reference] waiting for CONNECT takes no more than half of drainSeconds: what is under way has the rest',
  async () => {
    let lines = '';
    const destination = {
      write: (text: string) => {
        lines += text;
      },
    };
    const env = { ...reference, SUPERMQ_DRAIN_SECONDS: '1' };
    const node = await startNode(env, systemClock, makeLog('info', 'n', destination));
    const [silent] = await openSilently(node, 5);
    await node.stop();
    await silent?.closed;
    assert.match(lines, /node\.stopped/);
    assert.doesNotMatch(lines, /node\.drainCut/);
  },
);

test('[MQTT5 §4.11 server-reference] a stopping node ends at once when nobody is left to be told', async () => {
  const node = await startDeployment(reference);
  const client = await RawClient.connect(node.tcp, { version: 5 });
  const before = performance.now();
  await node.stop();
  assert.ok(performance.now() - before < 900, 'less than what it waits for CONNECT');
  assert.equal((await lastWord(client))?.reasonCode, 0x9c);
});

test('[MQTT5 3.1.2-24] [MQTT5 §4.11 server-reference] a reference above the Maximum Packet Size of a client is left out, in DISCONNECT and CONNACK', async () => {
  const node = await startDeployment(reference);
  const small = { version: 5 as const, properties: { maximumPacketSize: 30 } };
  const client = await RawClient.connect(node.tcp, small);
  const [late] = await openSilently(node, 5);
  const stopping = node.stop();
  late?.send(connectPacket(small));
  for (const packet of [await lastWord(client), late === undefined ? undefined : await lastWord(late)]) {
    assert.equal(packet?.reasonCode, 0x9c);
    assert.equal(packet?.properties?.serverReference, undefined);
  }
  await stopping;
});

testEmbedded(
  '[MQTT5 §4.11 server-reference] a CONNECT that is being worked on is redirected too, and the drain waits until its session is given back',
  async () => {
    const node = await startWiredNode();
    let proceed = (): void => {};
    const storing = new Promise<void>((resolve) => {
      proceed = resolve;
    });
    node.store.before = () => storing;
    const client = await RawClient.open(node.tcp, 5);
    const fields = { clientId: 'working', clean: false, properties: { sessionExpiryInterval: 60 } };
    client.send(connectPacket({ version: 5, ...fields }));
    await eventually(() => node.store.saves === 1);
    let isDrained = false;
    const draining = node.connections.drain(new RedirectError(Reason.useAnotherServer, told), 0).then(() => {
      isDrained = true;
    });
    const packet = await lastWord(client);
    assert.deepEqual([packet?.cmd, packet?.reasonCode, packet?.properties?.serverReference], ['connack', 0x9c, told]);
    assert.equal(isDrained, false);
    proceed();
    await draining;
    assert.equal(node.sessions.count, 0);
    await node.stop();
  },
);

test('without a reference 0x8B is all that is said, and who has not sent CONNECT is closed at once', async () => {
  const node = await startDeployment();
  const client = await RawClient.connect(node.tcp, { version: 5 });
  const [silent] = await openSilently(node, 5);
  const stopping = node.stop();
  const packet = await lastWord(client);
  assert.equal(packet?.reasonCode, 0x8b);
  assert.equal(packet?.properties?.serverReference, undefined);
  await silent?.closed;
  await stopping;
});
