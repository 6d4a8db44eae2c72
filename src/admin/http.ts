/** The HTTP side of a process: /healthz, /readyz and /metrics. Answers from views that server.ts or the primary of several workers hand in. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';

/** What a node shows of itself, to its own endpoint or to the primary that started it. */
export interface NodeViews {
  /** Why the node is not ready, or undefined when it is. */
  readonly readiness: () => string | undefined;
  readonly metrics: Registry;
}

/** The answer of /readyz, and what it says about it. */
export interface Readiness {
  readonly isReady: boolean;
  readonly text: string;
}

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  /** Why the process should be started again, or undefined. */
  readonly ailment?: () => string | undefined;
  readonly readiness: () => Promise<Readiness>;
  /** What is to be shown now. */
  readonly metrics: () => Promise<Registry>;
}

export interface AdminServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Rejects when the port cannot be bound. */
export async function startAdmin(options: AdminOptions): Promise<AdminServer> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(response, 405, 'method not allowed');
    if (path === '/healthz') return answerHealth(response, options.ailment?.());
    if (path === '/readyz') return answerReadiness(response, options);
    if (path === '/metrics') return answerMetrics(response, options);
    return answer(response, 404, 'not found');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const address = server.address();
  return { port: typeof address === 'object' && address !== null ? address.port : 0, close: () => close(server) };
}

/** The endpoint of one node by itself. */
export function startNodeAdmin(at: { host: string; port: number }, views: NodeViews): Promise<AdminServer> {
  return startAdmin({
    ...at,
    metrics: async () => views.metrics,
    readiness: async () => {
      const missing = views.readiness();
      return { isReady: missing === undefined, text: missing ?? 'ready' };
    },
  });
}

function answerHealth(response: ServerResponse, ailment: string | undefined): void {
  answer(response, ailment === undefined ? 200 : 503, ailment ?? 'ok');
}

function answerReadiness(response: ServerResponse, options: AdminOptions): void {
  options.readiness().then(
    ({ isReady, text }) => answer(response, isReady ? 200 : 503, text),
    () => answer(response, 500, 'readiness could not be found out'),
  );
}

function answerMetrics(response: ServerResponse, options: AdminOptions): void {
  const write = async (): Promise<void> => {
    const metrics = await options.metrics();
    const text = await metrics.metrics();
    response.writeHead(200, { 'content-type': metrics.contentType }).end(text);
  };
  write().catch(() => answer(response, 500, 'metrics could not be collected'));
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
