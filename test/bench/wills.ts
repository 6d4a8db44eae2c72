/**
 * What the death of a node with many wills costs: `npm run bench:wills [clients] [qos]`. One node has the clients, two others survive; a real
 * nats-server, leases as in production. Prints seconds from the end of the lease to the last will, and CPU seconds.
 */
import { openBackplane } from '../support/backplane.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { connectManyWithWill, WillWatch } from '../support/will-watch.ts';
import { cpuSeconds } from './process-figures.ts';

const [count = 20_000, qos = 1] = process.argv.slice(2).map(Number);
const LEASE_SECONDS = 15;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const nats = await startNatsServer();
const env = { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS) };
const survivors = [await EdgeProcess.start(env), await EdgeProcess.start(env)];
const node = await EdgeProcess.start(env);
const observer = await openBackplane(nats.url, { leaseSeconds: LEASE_SECONDS });
const { lease, wills } = observer;
if (lease === undefined || wills === undefined) throw new Error('no JetStream');

const seconds = (from: number, to = performance.now()): string => `${((to - from) / 1000).toFixed(2)} s`;
const survivorsCpu = (): number => survivors.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);

let startedAt = performance.now();
let natsBefore = nats.cpuSeconds();
await connectManyWithWill(node.tcp, { count, level: 'wills', qosOf: () => (qos === 0 ? 0 : qos === 2 ? 2 : 1) });
const rate = Math.round((count / (performance.now() - startedAt)) * 1000);
say(
  `${count} clients with wills of QoS ${qos}: ${rate} connects/s, NATS CPU ${(nats.cpuSeconds() - natsBefore).toFixed(2)} s`,
);

natsBefore = nats.cpuSeconds();
startedAt = performance.now();
await poll(async () => performance.now() - startedAt > 10_000, { what: 'ten seconds', timeoutMs: 11_000 });
say(`idle with these wills, 10 s: NATS CPU ${(nats.cpuSeconds() - natsBefore).toFixed(2)} s`);

const [owner = ''] = await wills.owners();
const watch = await WillWatch.start(nats.url, 'wills');
const killedAt = performance.now();
await node.kill();
await poll(async () => !(await lease.isAlive(owner)), { what: 'the end of the lease', timeoutMs: 60_000 });
const overAt = performance.now();
natsBefore = nats.cpuSeconds();
const nodesBefore = survivorsCpu();
await poll(async () => watch.seen.length >= count, { what: 'all wills', timeoutMs: 300_000 });
const [natsCpu, nodesCpu] = [nats.cpuSeconds() - natsBefore, survivorsCpu() - nodesBefore];
const [first, last] = [watch.seen[0]?.at ?? 0, watch.seen.at(-1)?.at ?? 0];
say(`the lease was over ${seconds(killedAt, overAt)} after the kill`);
say(`first will ${seconds(overAt, first)}, last will ${seconds(overAt, last)} after the end of the lease`);
say(`CPU meanwhile: NATS ${natsCpu.toFixed(2)} s, both survivors ${nodesCpu.toFixed(2)} s`);
say(`published so many times each: ${JSON.stringify(watch.counts())}`);

await watch.stop();
await observer.close();
for (const edge of survivors) await edge.stop();
await nats.stop();
process.exit(0);
