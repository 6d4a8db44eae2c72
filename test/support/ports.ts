/** Free TCP ports on loopback for the servers a test starts. A port is handed out once only in a process. */
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Remembered for the life of the process: a server that was killed may come back on its port. */
const handedOut = new Set<number>();

/** A port nothing listens on, chosen by the kernel; never the same one twice in a process. */
export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    server.close();
    await once(server, 'close');
    if (address === null || typeof address === 'string') throw new Error('A TCP server has no port');
    if (handedOut.has(address.port)) continue;
    handedOut.add(address.port);
    return address.port;
  }
}
