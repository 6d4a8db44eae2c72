/** Counts what the nodes of this process write to their clients: calls and bytes of accepted sockets, those of clients left out. */
import { Server, Socket } from 'node:net';

export interface ServerWrites {
  readonly calls: number;
  readonly bytes: number;
}

/** The writes while `work` runs. One call is at most one system call: what waits for a slow peer is joined by Node. */
export async function countServerWrites(work: () => Promise<void>): Promise<ServerWrites> {
  const original = Socket.prototype.write;
  let calls = 0;
  let bytes = 0;
  function counted(this: Socket & { readonly server?: unknown }, ...args: Parameters<Socket['write']>): boolean {
    if (this.server instanceof Server) {
      calls++;
      bytes += Buffer.byteLength(args[0]);
    }
    return Reflect.apply(original, this, args);
  }
  Socket.prototype.write = counted as Socket['write']; // the overloads in one
  try {
    await work();
  } finally {
    Socket.prototype.write = original;
  }
  return { calls, bytes };
}
