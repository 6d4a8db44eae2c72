/** Ends a connection the hard way, as a killed process does. */
import type { Socket } from 'node:net';

/** Not one that is ending already: Node 20 would never close it, and its process not end. */
export function reset(socket: Socket): void {
  if (socket.connecting || socket.writableEnded || socket.readableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
