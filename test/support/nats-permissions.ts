/** A nats-server whose only user has permissions that a test changes while the server runs. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { eventually } from './eventually.ts';
import { type NatsServerProcess, startNatsServer } from './nats-server.ts';

const RELOADED = 'Reloaded server configuration';

export interface RestrictedNats {
  readonly nats: NatsServerProcess;
  /** Environment of a node with this user. */
  readonly env: Record<string, string>;
  /** The operator changes what the user may not subscribe to, and has the server read it. */
  deny(...subjects: string[]): Promise<void>;
  stop(): Promise<void>;
}

export async function startRestrictedNats(...denied: string[]): Promise<RestrictedNats> {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-permissions-'));
  const file = join(folder, 'users.conf');
  const write = (subjects: readonly string[]): void => {
    const permissions = `permissions: { publish: ">", subscribe: { allow: ">", deny: ${JSON.stringify(subjects)} } }`;
    writeFileSync(file, `authorization { users: [{ user: edge, password: hush, ${permissions} }] }\n`);
  };
  write(denied);
  // From the server's own folder, which lies beside this one: it knows no other paths.
  const path = join('..', basename(folder), basename(file));
  const nats = await startNatsServer({ extraConfig: `include ${JSON.stringify(path)}` });
  return {
    nats,
    env: { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_NATS_USER: 'edge', SUPERMQ_NATS_PASSWORD: 'hush' },
    deny: async (...subjects) => {
      write(subjects);
      const logged = nats.log().length;
      process.kill(nats.pid, 'SIGHUP');
      await eventually(() => nats.log().includes(RELOADED, logged), 'the server has read its configuration');
    },
    stop: async () => {
      await nats.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
