/** MQTT over WebSocket: subprotocol, binary frames only, packets across frames, refusals. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { WebSocket } from 'ws';
import { startDeployment } from '../support/deployment.ts';
import { receivedBefore } from '../support/markers.ts';
import type { TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_MAX_PACKET_BYTES: '300000' });
});
after(() => node.stop());

function generate(packet: Packet): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: 4 });
}

async function open(protocols: string[] = ['mqtt'], path = '/mqtt'): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${node.ws}${path}`, protocols);
  await once(socket, 'open');
  return socket;
}

/** Status of a refused upgrade. */
async function refusedWith(protocols: string[], path = '/mqtt'): Promise<number | undefined> {
  const socket = new WebSocket(`ws://127.0.0.1:${node.ws}${path}`, protocols);
  socket.on('error', () => {});
  const [, response] = await once(socket, 'unexpected-response');
  return response.statusCode;
}

/** Packets that arrive on a WebSocket. */
function reader(socket: WebSocket): () => Promise<Packet> {
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  const packets: Packet[] = [];
  parser.on('packet', (packet) => packets.push(packet));
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    assert.ok(isBinary);
    parser.parse(data);
  });
  return async () => {
    while (packets.length === 0) await once(socket, 'message');
    const packet = packets.shift();
    assert.ok(packet !== undefined);
    return packet;
  };
}

test('[MQTT5 6.0.0-4] [MQTT311 6.0.0-4] the server selects mqtt, or mqttv3.1 for old clients', async () => {
  for (const [offered, selected] of [
    [['mqtt'], 'mqtt'],
    [['mqttv3.1'], 'mqttv3.1'],
    [['x', 'mqtt'], 'mqtt'],
    [['mqttv3.1', 'mqtt'], 'mqtt'],
  ] as const) {
    const socket = await open([...offered]);
    assert.equal(socket.protocol, selected);
    socket.terminate();
  }
});

test('[MQTT5 6.0.0-3] [MQTT311 6.0.0-3] an upgrade without the subprotocol, or to another path, is refused', async () => {
  assert.equal(await refusedWith([]), 400);
  assert.equal(await refusedWith(['stomp']), 400);
  assert.equal(await refusedWith(['mqtt'], '/other'), 404);
  const response = await fetch(`http://127.0.0.1:${node.ws}/mqtt`);
  assert.equal(response.status, 426);
});

test('[MQTT5 6.0.0-1] [MQTT311 6.0.0-1] [C] a text frame closes the connection; neither it nor what comes behind it is handled', async () => {
  const watcher = await RawClient.connect(node.tcp);
  await watcher.subscribe('text/#');
  const publish = (topic: string): Buffer =>
    generate({ cmd: 'publish', topic, payload: 'x', qos: 0, dup: false, retain: false });
  const first = await open();
  first.send('hello');
  first.send(generate(connectPacket({})));
  assert.equal((await once(first, 'close'))[0], 1003);
  const will = { topic: 'text/will', payload: Buffer.from('gone'), qos: 0 as const, retain: false };
  const socket = await open();
  const next = reader(socket);
  socket.send(generate(connectPacket({ will })));
  await next();
  // The text is a packet by its bytes.
  socket.send(publish('text/frame').toString('latin1'));
  socket.send(publish('text/after'));
  assert.equal((await once(socket, 'close'))[0], 1003);
  assert.deepEqual(await receivedBefore(node.tcp, watcher, 'text/marker'), ['text/will']);
  await watcher.end();
});

test('[MQTT5 6.0.0-2] [MQTT311 6.0.0-2] packets may be split and joined over frames as they like', async () => {
  const socket = await open();
  const next = reader(socket);
  const bytes = Buffer.concat([
    generate(connectPacket({})),
    generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'ws/#', qos: 0 }] } as Packet),
    generate({ cmd: 'publish', topic: 'ws/a', payload: Buffer.alloc(1_000, 1), qos: 0, dup: false, retain: false }),
    generate({ cmd: 'publish', topic: 'ws/b', payload: 'b', qos: 0, dup: false, retain: false }),
  ]);
  for (let i = 0; i < 40; i++) socket.send(bytes.subarray(i, i + 1));
  socket.send(bytes.subarray(40));
  assert.equal((await next()).cmd, 'connack');
  const rest = [await next(), await next(), await next()];
  assert.deepEqual(rest.map(({ cmd }) => cmd).sort(), ['publish', 'publish', 'suback']);
  socket.terminate();
});

test('messages go from WebSocket to TCP and back, also large ones', async () => {
  const tcp = await RawClient.connect(node.tcp);
  await tcp.subscribe('to/tcp');
  const socket = await open();
  const next = reader(socket);
  socket.send(generate(connectPacket({})));
  await next();
  socket.send(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'to/ws', qos: 0 }] } as Packet));
  await next();
  const payload = Buffer.alloc(250_000, 9);
  socket.send(generate({ cmd: 'publish', topic: 'to/tcp', payload, qos: 0, dup: false, retain: false }));
  assert.ok(Buffer.from((await tcp.next('publish')).payload as Buffer).equals(payload));
  tcp.publish('to/ws', payload);
  const back = await next();
  assert.ok(back.cmd === 'publish' && Buffer.from(back.payload as Buffer).equals(payload));
  socket.terminate();
  await tcp.end();
});

test('a frame above the limit closes that connection only', async () => {
  const socket = await open();
  const other = await open();
  socket.send(Buffer.alloc(600_000));
  await once(socket, 'close');
  const next = reader(other);
  other.send(generate(connectPacket({})));
  assert.equal((await next()).cmd, 'connack');
  other.terminate();
});
