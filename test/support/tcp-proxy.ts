/** A TCP proxy on loopback between a node and NATS: the link that a test cuts, and mends again. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { joinSockets, portOf } from './join-sockets.ts';
import { reset } from './reset.ts';

export class TcpProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #target: number;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #isCut = false;

  private constructor(server: Server, port: number, target: number) {
    this.#server = server;
    this.port = port;
    this.#target = target;
    server.on('connection', (socket) => this.#accept(socket));
  }

  /** Listens on a port of its own and connects each client to `target`. */
  static async start(target: number): Promise<TcpProxy> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TcpProxy(server, portOf(server), target);
  }

  /** Connections that go through now. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** Resets all connections, and every new one until {@link mend}. */
  cut(): void {
    this.#isCut = true;
    for (const pair of this.#pairs) for (const socket of pair) reset(socket);
  }

  mend(): void {
    this.#isCut = false;
  }

  /** Nothing goes from the target to the clients any more; both sides still believe in the connection. */
  stall(): void {
    for (const [, outer] of this.#pairs) outer.pause();
  }

  async stop(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(inner: Socket): void {
    if (this.#isCut) {
      reset(inner);
      return;
    }
    const outer = connect({ port: this.#target, host: '127.0.0.1', noDelay: true });
    const pair = [inner, outer] as const;
    this.#pairs.add(pair);
    joinSockets(inner, outer, () => this.#pairs.delete(pair));
  }
}
