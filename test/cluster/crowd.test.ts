/** Many publishers of QoS 1 and a NATS that stalls: the node bounds what all of them together have waiting, not only what each of them has. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteClient, bytesOf } from '../support/byte-client.ts';
import { eventually } from '../support/eventually.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';

const PUBLISHERS = 400;
/** Messages of each, as many as it may have under way. */
const WINDOW = 100;
const PAYLOAD_BYTES = 4 * 1024;
const MIB = 1024 * 1024;
const PUBACK_BYTES = 4;

test('400 publishers with 160 MB under way in front of a frozen NATS: the node grows by less than 90 MB, and all is acknowledged and stored later', async (t) => {
  const nats = await startNatsServer();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LEASE_SECONDS: '60' });
  const payload = Buffer.alloc(PAYLOAD_BYTES, 1);
  const fields = { cmd: 'publish', topic: 'crowd/a', payload, qos: 1, dup: false, retain: false } as const;
  const batch = Buffer.concat(Array.from({ length: WINDOW }, (_, n) => bytesOf({ ...fields, messageId: n + 1 })));
  const connect = (_: unknown, n: number): Promise<ByteClient> => ByteClient.connect(edge.tcp, `crowd-${n}`);
  const publishers = await Promise.all(Array.from({ length: PUBLISHERS }, connect));
  const before = edge.residentBytes();
  nats.pause();
  const acknowledged = publishers.map((publisher) => publisher.ask(batch, WINDOW * PUBACK_BYTES));
  let received = 0;
  const isQuiet = async (): Promise<boolean> => {
    const earlier = received;
    received = await edge.metric('supermq_bytes_received_total');
    return received > 10 * MIB && received === earlier;
  };
  await eventually(isQuiet, 'the node reads no more');
  const grown = edge.residentBytes() - before;
  t.diagnostic(`${Math.round(received / MIB)} MB were read, the node grew by ${Math.round(grown / MIB)} MB`);
  nats.resume();
  let count = 0;
  for (const publisher of acknowledged) void publisher.then(() => count++);
  await poll(async () => count === PUBLISHERS, { what: 'all acknowledgements', timeoutMs: 60_000 });
  assert.equal(await edge.metric('supermq_log_stored_total'), PUBLISHERS * WINDOW);
  assert.ok(grown < 90 * MIB, `grown by ${Math.round(grown / MIB)} MB`);
  for (const publisher of publishers) publisher.end();
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});
