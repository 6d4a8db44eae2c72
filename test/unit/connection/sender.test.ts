/** connection/sender.ts: in whose memory lies what a peer has not taken yet. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sender } from '../../../src/connection/sender.ts';
import { WriteBatch } from '../../../src/connection/write-batch.ts';
import { makeCounters } from '../../../src/counters.ts';
import type { Transport } from '../../../src/transport/listener.ts';

const SLAB_BYTES = 64 * 1024;

class FakeTransport {
  bufferedBytes = 0;
  isBlocked = false;
  readonly written: Buffer[] = [];

  write(bytes: Buffer): void {
    this.written.push(bytes);
  }
}

function makeSender(limit = 1024 * 1024): { sender: Sender; transport: FakeTransport } {
  const transport = new FakeTransport();
  const sender = new Sender(transport as unknown as Transport, makeCounters(), new WriteBatch(), limit); // what a sender uses of it
  return { sender, transport };
}

/** A packet as deliver.ts hands it over: a slice of a slab that all clients share. */
function packetOf(text: string): Buffer {
  const slab = Buffer.alloc(SLAB_BYTES);
  slab.write(text, 100);
  return slab.subarray(100, 100 + text.length);
}

const textOf = (parts: readonly Buffer[]): string => Buffer.concat(parts).toString();
const memoryOf = (parts: readonly Buffer[]): number =>
  [...new Set(parts.map((part) => part.buffer))].reduce((bytes, { byteLength }) => bytes + byteLength, 0);

test('sender - a peer that keeps up gets the shared memory as it is', () => {
  const { sender, transport } = makeSender();
  const packet = packetOf('packet');
  sender.deliver(packet, 1);
  sender.flush();
  assert.equal(transport.written[0], packet);
});

test('sender - what waits for a blocked transport takes no more memory than its bytes, turn by turn', () => {
  const { sender, transport } = makeSender();
  transport.isBlocked = true;
  for (let turn = 0; turn < 100; turn++) {
    sender.deliver(packetOf('one '), 1);
    sender.deliver(packetOf('two '), 1);
    sender.flush();
  }
  assert.deepEqual(transport.written, []);
  transport.isBlocked = false;
  // All in one write would be a copy anyway: above 64 KiB the parts are written as they waited.
  sender.deliver(Buffer.alloc(SLAB_BYTES), 1);
  sender.drained();
  const waited = transport.written.slice(0, -1);
  assert.equal(textOf(waited), 'one two '.repeat(100));
  assert.equal(memoryOf(waited), 800);
});

test('sender - what the transport keeps behind bytes that the kernel has not taken is memory of its own', () => {
  const { sender, transport } = makeSender();
  transport.bufferedBytes = 10;
  for (let turn = 0; turn < 100; turn++) {
    sender.deliver(packetOf('one '), 1);
    if (turn % 2 === 1) sender.deliver(packetOf('two '), 1);
    sender.flush();
  }
  assert.equal(textOf(transport.written), 'one one two '.repeat(50));
  assert.equal(memoryOf(transport.written), 600);
});
