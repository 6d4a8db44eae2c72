/** Questions over HTTP whose answer is JSON: bounded in time and size, never redirected. Used by http-hook.ts and jwks-url.ts. */

export interface JsonRequest {
  readonly url: string;
  readonly timeoutMs: number;
  readonly maximumBytes: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Present: POST. */
  readonly body?: string;
}

/** Resolves to what a 200 has; everything else rejects, with words that hold nothing of what was said. */
export async function fetchJson({ body, headers, maximumBytes, timeoutMs, url }: JsonRequest): Promise<unknown> {
  const response = await fetch(url, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { accept: 'application/json', 'content-type': 'application/json', ...headers },
    body: body ?? null,
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`status ${response.status}`);
  }
  const text = await readText(response, maximumBytes);
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('the answer is not JSON'); // the parser's words quote it
  }
}

/** Leaving the loop cancels the rest. */
async function readText(response: Response, maximumBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > maximumBytes) throw new Error(`the answer has more than ${maximumBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
