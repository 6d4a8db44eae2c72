/** Every kind of packet that the server sends, byte by byte: flags, lengths, packet ids, empty properties. No parser is between. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { bodyOffset, bytes, packet, props, str, u16, varint } from '../unit/mqtt/bytes.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

/** A connection that shows packets as bytes. */
class Wire {
  readonly socket: Socket;
  #bytes = Buffer.alloc(0);
  #packets: Buffer[] = [];

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (chunk) => this.#take(chunk));
  }

  send(...packets: Buffer[]): void {
    this.socket.write(Buffer.concat(packets));
  }

  /** The next packet of this type, in order of arrival. */
  async next(type: number): Promise<Buffer> {
    for (;;) {
      const index = this.#packets.findIndex(([header = 0]) => header >> 4 === type);
      const [found] = index < 0 ? [] : this.#packets.splice(index, 1);
      if (found !== undefined) return found;
      await once(this.socket, 'data', { signal: AbortSignal.timeout(5_000) });
    }
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const size = sizeOf(this.#bytes);
      if (size === undefined || size > this.#bytes.length) return;
      this.#packets.push(this.#bytes.subarray(0, size));
      this.#bytes = this.#bytes.subarray(size);
    }
  }
}

/** The length of the packet in front; undefined when too little of it is there. */
function sizeOf(from: Buffer): number | undefined {
  let remaining = 0;
  for (let digit = 0; digit < 4; digit++) {
    const byte = from[digit + 1];
    if (byte === undefined) return undefined;
    remaining += (byte & 0x7f) * 128 ** digit;
    if (byte < 128) return digit + 2 + remaining;
  }
  throw new Error('a length of more than four bytes');
}

for (const version of [4, 5] as const) {
  const name = version === 5 ? 'MQTT 5' : 'MQTT 3.1.1';
  const none = version === 5 ? props() : bytes();
  const topic = (qos: number): Buffer => str(`${version}/${qos}`);

  async function connected(): Promise<Wire> {
    const wire = new Wire(node.tcp);
    wire.send(packet(0x10, str('MQTT'), version, 2, u16(60), none, str(`wire-${version}`)));
    const connack = await wire.next(2);
    assert.deepEqual([connack[0], connack[2], connack[3]], [0x20, 0, 0], 'all flags are 0, no session, success');
    if (version === 5) assert.equal(connack.length, 5 + (connack[4] ?? 0));
    else assert.equal(connack.length, 4);
    return wire;
  }

  test(`[MQTT5 2.1.3-1] [MQTT311 2.2.2-1] [MQTT5 2.2.2-1] ${name}: flags are those of the standard, no properties are one byte`, async () => {
    const wire = await connected();
    wire.send(packet(0x82, u16(0x0107), none, topic(0), 0, topic(1), 1, topic(2), 2));
    assert.deepEqual(await wire.next(9), packet(0x90, u16(0x0107), none, 0, 1, 2));
    const delivered = async (header: number, qos: number, payload: string): Promise<Buffer> => {
      const got = await wire.next(3);
      const id = qos === 0 ? bytes() : got.subarray(7, 9); // behind a topic of three letters
      assert.deepEqual(got, packet(header, topic(qos), id, none, Buffer.from(payload)));
      return id;
    };
    wire.send(packet(0x30, topic(0), none, Buffer.from('a')));
    await delivered(0x30, 0, 'a');
    wire.send(packet(0x32, topic(1), u16(0x0102), none, Buffer.from('b')));
    assert.deepEqual(await wire.next(4), packet(0x40, u16(0x0102)));
    wire.send(packet(0x40, await delivered(0x32, 1, 'b')));
    wire.send(packet(0x35, topic(2), u16(0x0103), none, Buffer.from('c')));
    assert.deepEqual(await wire.next(5), packet(0x50, u16(0x0103)));
    wire.send(packet(0x62, u16(0x0103)));
    assert.deepEqual(await wire.next(7), packet(0x70, u16(0x0103)));
    const id = await delivered(0x34, 2, 'c');
    wire.send(packet(0x50, id));
    assert.deepEqual(await wire.next(6), packet(0x62, id));
    wire.send(packet(0x70, id), packet(0xc0));
    assert.deepEqual(await wire.next(13), packet(0xd0));
    wire.send(packet(0x82, u16(8), none, topic(2), 0));
    await wire.next(9);
    assert.deepEqual(await wire.next(3), packet(0x31, topic(2), none, Buffer.from('c')), 'the retained message');
    wire.send(packet(0xa2, u16(0x0109), none, topic(0), str('never')));
    assert.deepEqual(await wire.next(11), packet(0xb0, u16(0x0109), ...(version === 5 ? [none, 0, 0x11] : [])));
    wire.socket.end(packet(0x31, topic(2), none, Buffer.alloc(0)));
    await once(wire.socket, 'close');
  });

  test(`[MQTT5 2.2.1-2] [MQTT311 2.3.1-5] ${name}: PUBLISH with QoS 0 has no packet id, whatever it was published with`, async () => {
    const wire = await connected();
    wire.send(packet(0x82, u16(1), none, str('no-id'), 0));
    await wire.next(9);
    for (const qos of [0, 1, 2]) {
      const id = qos === 0 ? bytes() : u16(0x4141);
      wire.send(packet(0x30 | (qos << 1), str('no-id'), id, none, Buffer.from([qos])));
      assert.deepEqual(await wire.next(3), packet(0x30, str('no-id'), none, Buffer.from([qos])));
    }
    wire.socket.end();
    await once(wire.socket, 'close');
  });

  test(`[MQTT5 2.2.1-5] [MQTT311 2.3.1-6] [MQTT5 2.2.1-6] [MQTT311 2.3.1-7] ${name}: answers repeat the packet id, also 1, 255, 256 and 65,535, and several at once`, async () => {
    const wire = await connected();
    const ids = [1, 255, 256, 65_535];
    // One id for three exchanges, one after the other: each is free again when it was answered.
    for (const id of ids) wire.send(packet(0x82, u16(id), none, str('elsewhere'), 0));
    for (const id of ids) assert.deepEqual((await wire.next(9)).subarray(2, 4), u16(id));
    for (const id of ids) wire.send(packet(0xa2, u16(id), none, str('elsewhere')));
    for (const id of ids) assert.deepEqual((await wire.next(11)).subarray(2, 4), u16(id));
    for (const id of ids) wire.send(packet(0x32, str('t'), u16(id), none));
    for (const id of ids) assert.deepEqual((await wire.next(4)).subarray(2, 4), u16(id));
    for (const id of ids) wire.send(packet(0x34, str('t'), u16(id), none));
    for (const id of ids) assert.deepEqual((await wire.next(5)).subarray(2, 4), u16(id));
    for (const id of ids.toReversed()) wire.send(packet(0x62, u16(id)));
    for (const id of ids.toReversed()) assert.deepEqual((await wire.next(7)).subarray(2, 4), u16(id));
    wire.socket.end();
    await once(wire.socket, 'close');
  });

  test(`[MQTT5 1.5.5-1] ${name}: the Remaining Length of a delivery has the fewest bytes, on both sides of each step`, async () => {
    const wire = await connected();
    wire.send(packet(0x82, u16(1), none, str('x'), 0));
    await wire.next(9);
    for (const remaining of [127, 128, 16_383, 16_384]) {
      const payload = Buffer.alloc(remaining - 3 - none.length, 1);
      const sent = packet(0x30, str('x'), none, payload);
      assert.equal(bodyOffset(sent) - 1, varint(remaining).length);
      wire.send(sent);
      assert.ok((await wire.next(3)).equals(sent));
    }
    wire.socket.end();
    await once(wire.socket, 'close');
  });
}
