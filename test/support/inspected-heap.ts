/** The heap of another Node process after its garbage was collected, asked over the inspector: the process runs as it does for users, and without a flag of V8. */
import { once } from 'node:events';
import { WebSocket } from 'ws';

const ANSWER_MILLISECONDS = 30_000;

/** Bytes after a full collection. */
export interface HeapFloor {
  readonly heap: number;
  /** Buffers. */
  readonly external: number;
}

interface Reply {
  readonly id?: number;
  readonly result?: { readonly result?: { readonly value?: unknown } };
}

export class InspectedHeap {
  readonly #socket: WebSocket;
  #id = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  /** `port`: the process was started with `--inspect=127.0.0.1:<port>` in NODE_OPTIONS. */
  static async attach(port: number): Promise<InspectedHeap> {
    const response = await fetch(`http://127.0.0.1:${port}/json/list`);
    const [target] = (await response.json()) as Array<{ webSocketDebuggerUrl: string }>; // as Node documents it
    if (target === undefined) throw new Error('the process has no inspector');
    const socket = new WebSocket(target.webSocketDebuggerUrl);
    await once(socket, 'open');
    return new InspectedHeap(socket);
  }

  async floor(): Promise<HeapFloor> {
    // Twice: what finalizers let go of in the first is gone after the second.
    for (let round = 0; round < 2; round++) await this.#ask('HeapProfiler.collectGarbage', {});
    const expression = 'JSON.stringify(process.memoryUsage())';
    const { result } = await this.#ask('Runtime.evaluate', { expression, returnByValue: true });
    const { external, heapUsed } = JSON.parse(String(result?.result?.value)) as NodeJS.MemoryUsage;
    return { heap: heapUsed, external };
  }

  close(): void {
    this.#socket.close();
  }

  #ask(method: string, params: object): Promise<Reply> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${method}`)), ANSWER_MILLISECONDS);
      const take = (data: Buffer): void => {
        const reply = JSON.parse(data.toString()) as Reply;
        if (reply.id !== id) return;
        clearTimeout(timer);
        this.#socket.off('message', take);
        resolve(reply);
      };
      this.#socket.on('message', take);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}
