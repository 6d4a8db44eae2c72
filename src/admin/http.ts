/** The HTTP side of a node: /healthz, /readyz and /metrics. Answers from views that server.ts hands in. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';

/** Why the node is not ready, or undefined when it is. */
export type Readiness = () => string | undefined;

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly readiness: Readiness;
  readonly metrics: Registry;
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
    if (path === '/healthz') return answer(response, 200, 'ok');
    if (path === '/readyz') return answerReadiness(response, options.readiness());
    if (path === '/metrics') return answerMetrics(response, options.metrics);
    return answer(response, 404, 'not found');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const address = server.address();
  return { port: typeof address === 'object' && address !== null ? address.port : 0, close: () => close(server) };
}

function answerReadiness(response: ServerResponse, missing: string | undefined): void {
  answer(response, missing === undefined ? 200 : 503, missing ?? 'ready');
}

function answerMetrics(response: ServerResponse, metrics: Registry): void {
  metrics.metrics().then(
    (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
    () => answer(response, 500, 'metrics could not be collected'),
  );
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
