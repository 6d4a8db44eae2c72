/**
 * What happens when many publishers that were not read are read again: `npm run bench:resume [connections [QoS]]`. NATS is frozen until all of them are held
 * back, then it goes on. Tells how long another client waits for its PINGRESP meanwhile, and what memory the edge takes.
 */
import { writeFileSync } from 'node:fs';
import { ByteClient, bytesOf } from '../support/byte-client.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';

const [count = 4_000, only] = process.argv.slice(2).map(Number);
const PAYLOAD_BYTES = 1_000;
/** Of each publisher; about two chunks of its socket. */
const MESSAGES = 120;
/** Connects under way at once. */
const PENDING = 50;
const MIB = 1024 * 1024;

type Qos = 0 | 1;

async function openMany(port: number): Promise<ByteClient[]> {
  const clients: ByteClient[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) clients.push(await ByteClient.connect(port, `resume-${next++}`));
  };
  await Promise.all(Array.from({ length: PENDING }, worker));
  return clients;
}

/** All messages of one publisher, on a topic of its own. */
function messagesOf(index: number, qos: Qos): Buffer {
  const payload = Buffer.alloc(PAYLOAD_BYTES, 'x');
  const one = (messageId: number): Buffer =>
    bytesOf({ cmd: 'publish', topic: `resume/${index}`, payload, qos, dup: false, retain: false, messageId });
  return Buffer.concat(Array.from({ length: MESSAGES }, (_, id) => one(id + 1)));
}

/** Resolves with the number when it has stayed the same for a second. */
async function settled(read: () => Promise<number>): Promise<number> {
  let last = -1;
  await poll(
    async () => {
      const now = await read();
      const isSame = now === last;
      last = now;
      if (!isSame) await new Promise((resolve) => setTimeout(resolve, 1_000));
      return isSame;
    },
    { what: 'the publishers are held back', timeoutMs: 60_000 },
  );
  return last;
}

/** Longest wait for a PINGRESP until the returned function is called. */
function pinging(client: ByteClient): () => number {
  const ping = bytesOf({ cmd: 'pingreq' });
  let longest = 0;
  let isOver = false;
  const run = async (): Promise<void> => {
    while (!isOver) {
      const before = performance.now();
      await client.ask(ping, 2);
      longest = Math.max(longest, performance.now() - before);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    client.end();
  };
  void run();
  return () => {
    isOver = true;
    return longest;
  };
}

async function measure(qos: Qos): Promise<void> {
  const nats = await startNatsServer();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LIMITS_MAX_EVENT_LOOP_DELAY_MS: '0' });
  const bystander = await ByteClient.connect(edge.tcp, 'bystander');
  const clients = await openMany(edge.tcp);
  const received = (): Promise<number> => edge.metric('supermq_messages_received_total');
  const before = edge.residentBytes() / MIB;
  nats.pause();
  for (const [index, client] of clients.entries()) client.socket.write(messagesOf(index, qos));
  const held = await settled(received);
  const heldMemory = edge.residentBytes() / MIB;
  // The peak is counted from here on.
  writeFileSync(`/proc/${edge.pid}/clear_refs`, '5');
  const endPinging = pinging(bystander);
  const start = performance.now();
  nats.resume();
  const isRead = async (): Promise<boolean> => (await received()) === count * MESSAGES;
  await poll(isRead, { what: 'everything is read', timeoutMs: 100_000 });
  const seconds = (performance.now() - start) / 1_000;
  const cells = [
    `QoS ${qos}`,
    held,
    `${seconds.toFixed(1)} s`,
    `${Math.round(endPinging())} ms`,
    ...[before, heldMemory, edge.peakResidentBytes() / MIB].map(Math.round),
  ];
  process.stdout.write(`| ${cells.join(' | ')} |\n`);
  for (const client of clients) client.end();
  await edge.kill();
  await nats.stop();
}

process.stdout.write(
  '| | read while NATS is frozen | until all is read | PINGRESP after | MiB before | held back | peak |\n',
);
process.stdout.write('|---|---:|---:|---:|---:|---:|---:|\n');
for (const qos of [0, 1] as const) if (only === undefined || only === qos) await measure(qos);
process.exit(0);
