/** Where the nats-server of the tests comes from: deploy/nats/get-nats-server.sh, run at most once in a process. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const script = fileURLToPath(new URL('../../deploy/nats/get-nats-server.sh', import.meta.url));

let found: Promise<string> | undefined;

/** Path of a nats-server that is new enough; the first call may fetch one. Rejects with the script's own sentence. */
export function natsServerBinary(): Promise<string> {
  found ??= findBinary();
  return found;
}

async function findBinary(): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('bash', [script]);
    return stdout.trim();
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    throw new Error(said === '' ? 'get-nats-server.sh failed' : said, { cause });
  }
}
