/** Three nodes as far as claims go, on one nats-server: for the tests of how they share clients. */
import { after, before } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { NatsCluster } from '../../src/nats/cluster.ts';
import { connectWired } from '../../src/nats/wire/connect.ts';
import { type NatsServerProcess, startNatsServer } from './nats-server.ts';

/** Starts them before the tests of the file and stops them behind: the node of an index, from 0. */
export function claimNodes(): (index: number) => NatsCluster {
  let nats: NatsServerProcess;
  let nodes: NatsCluster[];
  before(async () => {
    nats = await startNatsServer({ jetstream: false });
    const start = async (incarnation: string): Promise<NatsCluster> =>
      new NatsCluster({
        incarnation,
        connection: await connectWired({ servers: nats.url, noEcho: true }),
        clock: systemClock,
      });
    nodes = await Promise.all(['one', 'two', 'three'].map(start));
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    await nats.stop();
  });
  return (index) => {
    const node = nodes[index];
    if (node === undefined) throw new RangeError(`no node ${index}`);
    return node;
  };
}
