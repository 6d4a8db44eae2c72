/**
 * A TCP balancer on loopback: each new connection goes to the next port in turn, so that a client that comes back is on another node.
 * One that does not listen is passed over. It knows nothing of what goes through: MQTT and WebSocket alike.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { joinSockets, portOf } from './join-sockets.ts';
import { reset } from './reset.ts';

export interface Balancer {
  /** Where clients connect. */
  readonly port: number;
  /** Resets what goes through and listens no more. */
  stop(): Promise<void>;
}

/** Listens on a port of its own; the first connection goes to the first of `ports`. */
export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  const server = createServer({ noDelay: true, pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return new RoundRobin(server, ports);
}

class RoundRobin implements Balancer {
  readonly port: number;
  readonly #server: Server;
  readonly #ports: readonly number[];
  readonly #open = new Set<Socket>();
  #next = 0;

  constructor(server: Server, ports: readonly number[]) {
    this.port = portOf(server);
    this.#server = server;
    this.#ports = ports;
    server.on('connection', (client) => {
      this.#add(client);
      this.#connect(client, this.#ports.length);
    });
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#open) reset(socket);
    await closed;
  }

  /** The port is taken from the list at once: of two clients that come together each gets its own. */
  #connect(client: Socket, attempts: number): void {
    const port = this.#ports[this.#next++ % this.#ports.length];
    if (port === undefined || attempts === 0) {
      reset(client);
      return;
    }
    const node = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#add(node);
    const refused = (): void => this.#connect(client, attempts - 1);
    node.once('error', refused);
    node.once('connect', () => {
      node.off('error', refused);
      joinSockets(client, node, () => {});
      client.resume();
      if (client.destroyed) node.destroy();
    });
  }

  #add(socket: Socket): void {
    this.#open.add(socket);
    socket.on('error', () => {}); // `close` follows
    socket.once('close', () => this.#open.delete(socket));
  }
}
