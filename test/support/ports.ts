/** Free TCP ports on loopback for the servers a test starts. A port is handed out once only in a process. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below the ports that systems give to outgoing connections (32,768 and up on Linux, 49,152 elsewhere): a port from there can be taken by
 * any client between this answer and the server's start, or while the server is killed and started again.
 */
const LOWEST = 10_000;
const HIGHEST = 32_000;

/** Remembered for the life of the process: a server that was killed may come back on its port. */
const handedOut = new Set<number>();

/** A port nothing listens on; never the same one twice in a process, and hardly ever in two. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(LOWEST, HIGHEST);
    if (handedOut.has(port) || !(await isFree(port))) continue;
    handedOut.add(port);
    return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false; // in use: the caller tries another one
  }
  server.close();
  await once(server, 'close');
  return true;
}
