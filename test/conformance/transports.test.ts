/** What MQTT asks of a network connection, over each of those that a node offers: every byte, in order, both ways. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { WebSocket } from 'ws';
import { startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import type { TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';

const COUNT = 300;
/** Larger than what a network takes at once, so that bytes of many packets wait and are split. */
const LARGEST = 30_000;

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

/** A client of one transport: packets out as bytes, packets in. */
interface Wire {
  readonly send: (bytes: Buffer) => void;
  readonly packets: Packet[];
  readonly close: () => void;
}

async function openTcp(): Promise<Wire> {
  const client = await RawClient.open(node.tcp);
  return { send: (bytes) => client.send(bytes), packets: client.received, close: () => client.socket.destroy() };
}

async function openWebSocket(): Promise<Wire> {
  const socket = new WebSocket(`ws://127.0.0.1:${node.ws}/mqtt`, ['mqtt']);
  await once(socket, 'open');
  const packets: Packet[] = [];
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  parser.on('packet', (packet) => packets.push(packet));
  socket.on('message', (data: Buffer) => parser.parse(data));
  return { send: (bytes) => socket.send(bytes), packets, close: () => socket.terminate() };
}

const transports = { TCP: openTcp, WebSocket: openWebSocket } as const;

function generate(packet: Packet): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: 4 });
}

async function connectOver(open: () => Promise<Wire>): Promise<Wire> {
  const wire = await open();
  wire.send(generate(connectPacket({ version: 4 })));
  await eventually(() => wire.packets.shift()?.cmd === 'connack', 'CONNACK');
  return wire;
}

/** Of every length, and different all the way, so that what is lost, doubled or moved shows. */
function payloadOf(number: number): Buffer {
  const payload = Buffer.alloc(4 + ((number * 7_919) % LARGEST), number % 251);
  payload.writeUInt32BE(number);
  return payload;
}

for (const [from, openPublisher] of Object.entries(transports)) {
  for (const [to, openSubscriber] of Object.entries(transports)) {
    test(`[MQTT5 4.2-1] [MQTT311 §4.2] ${from} to ${to}: packets cut into pieces anywhere arrive whole, all of them and in order`, async () => {
      const topic = `transport/${from}/${to}`;
      const subscriber = await connectOver(openSubscriber);
      subscriber.send(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 1 }] } as Packet));
      await eventually(() => subscriber.packets.shift()?.cmd === 'suback', 'SUBACK');
      const publisher = await connectOver(openPublisher);
      let rest = Buffer.alloc(0);
      for (let number = 0; number < COUNT; number++) {
        const message = { cmd: 'publish', topic, qos: 1, dup: false, retain: false } as const;
        const bytes = generate({ ...message, messageId: number + 1, payload: payloadOf(number) });
        const stream = Buffer.concat([rest, bytes]);
        const cut = (number * 104_729) % stream.length;
        publisher.send(stream.subarray(0, cut));
        rest = stream.subarray(cut);
        if (number % 50 < 49) continue;
        const answered = number - 5; // the last of them may still be in pieces
        await eventually(() => publisher.packets.length >= answered, `${answered} PUBACKs`);
      }
      publisher.send(rest);
      let seen = 0;
      await eventually(() => {
        for (const packet of subscriber.packets.splice(0)) {
          assert.ok(packet.cmd === 'publish');
          assert.ok(payloadOf(seen).equals(Buffer.from(packet.payload)), `message ${seen}`);
          subscriber.send(generate({ cmd: 'puback', messageId: packet.messageId ?? 0 }));
          seen++;
        }
        return seen === COUNT;
      }, `${COUNT} messages`);
      assert.deepEqual(
        publisher.packets.map(({ messageId }) => messageId),
        Array.from({ length: COUNT }, (_, index) => index + 1),
      );
      for (const wire of [subscriber, publisher]) wire.close();
    });
  }
}

test('[MQTT5 4.2-1] [MQTT311 §4.2] a node listens for clients on TCP and WebSocket, and on nothing that loses or reorders', () => {
  assert.deepEqual(Object.keys(node.ports).sort(), ['http', 'tcp', 'ws']);
});
