/** Two sockets as one stream, for the proxy and the balancer: what comes on one goes out on the other, at the pace of the slower. */
import type { Socket } from 'node:net';

/** Joins both ways; when one closes, the other gets what is on its way and closes too. `closed` is called with the first. */
export function joinSockets(inner: Socket, outer: Socket, closed: () => void): void {
  for (const [from, to] of [
    [inner, outer],
    [outer, inner],
  ] as const) {
    from.setNoDelay(true);
    from.on('data', (chunk) => {
      if (to.write(chunk)) return;
      from.pause();
      to.once('drain', () => from.resume());
    });
    // A reset is what some tests ask for; `close` follows.
    from.on('error', () => {});
    from.on('close', () => {
      closed();
      to.destroySoon();
    });
  }
}

/** The port of a server that listens. */
export function portOf(server: { address(): { readonly port: number } | string | null }): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('A TCP server has no port');
  return address.port;
}
