/** aedes as a peer for the benches: `node --import tsx test/bench/aedes-broker.ts PORT`. */
import { createServer } from 'node:net';
import { Aedes } from 'aedes';

const broker = await Aedes.createBroker();
createServer({ noDelay: true }, broker.handle).listen({
  host: '127.0.0.1',
  port: Number(process.argv[2]),
  backlog: 4_096,
});
