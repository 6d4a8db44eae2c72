/**
 * Streams over a Unix socket, for clients on the same machine. The file of a process that was killed is removed; one that somebody listens
 * on stops the start. listeners.ts uses it; with workers main.ts looks after the file before they start.
 */
import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { makePlainEntrance } from './entrance.ts';
import type { Accept, Listener, ListenOptions } from './listener.ts';
import { bind, closeServer, SocketTransport } from './tcp.ts';

export interface UnixListenOptions extends Omit<ListenOptions, 'host' | 'port' | 'tls' | 'trusted'> {
  readonly path: string;
  /** Mode of the file. */
  readonly mode: number;
  /** Other processes listen on it too, and whoever started them has looked after the file. */
  readonly isShared: boolean;
}

/** @throws UnixPathError when the path is taken, and errors of a path that cannot be bound */
export async function listenUnix(
  { isShared, mode, path, ...options }: UnixListenOptions,
  accept: Accept,
): Promise<Listener> {
  const name = 'unix';
  if (!isShared) await freeUnixPath(path);
  const server = makePlainEntrance({ ...options, name, host: '', port: 0 }, (socket) =>
    accept(new SocketTransport(socket, name)),
  );
  await bind(server, { path, backlog: options.backlog });
  await chmod(path, mode);
  return { name, port: 0, close: () => closeServer(server) };
}

export class UnixPathError extends Error {
  constructor(text: string) {
    super(text);
    this.name = 'UnixPathError';
  }
}

/** Removes a socket that nobody listens on; empty = there is none. @throws UnixPathError when the path is taken */
export async function freeUnixPath(path: string): Promise<void> {
  if (path === '') return;
  const found = await lstat(path).catch(ignoreMissing);
  if (found === undefined) return;
  if (!found.isSocket())
    throw new UnixPathError(
      `mqtt.unix.path is ${path}, which is there and is no socket: remove it, or name another path.`,
    );
  if (await isListening(path))
    throw new UnixPathError(
      `mqtt.unix.path is ${path}, on which another process listens: stop it, or name another path.`,
    );
  await unlink(path).catch(ignoreMissing);
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/** Only a socket that refuses is nobody's: one that may not be asked, or is too busy, is somebody's. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => settle(true));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => settle(code !== 'ECONNREFUSED' && code !== 'ENOENT'));
    const settle = (is: boolean): void => {
      socket.destroy();
      resolve(is);
    };
  });
}
