/**
 * The files under deploy, the Dockerfile and docker-compose.yaml agree with each other and with the server, as far as that
 * can be told without a container engine. Where a program that can tell more is installed, it is asked.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parse } from 'yaml';
import { natsServerBinary } from '../support/nats-binary.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const schemaFile = join(root, 'src/config/schema.ts');
/** haproxy lives where an ordinary user's PATH does not look. */
const searchPath = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;

interface Service {
  readonly image?: string;
  readonly build?: string;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

interface Run {
  readonly code: number | string;
  readonly output: string;
}

const compose = parse(text('docker-compose.yaml'), { merge: true }) as Compose; // decoded border: our own file
const services = Object.entries(compose.services);
const natsNames = namesOf(({ image }) => image?.startsWith('nats:') === true);
const edgeNames = namesOf(({ build }) => build !== undefined);
const dockerfile = text('Dockerfile');
const haproxyConfig = text('deploy/haproxy/haproxy.cfg');

function text(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

function namesOf(isWanted: (service: Service) => boolean): string[] {
  return services.filter(([, service]) => isWanted(service)).map(([name]) => name);
}

/** Ends well or badly, always with what was printed; `code` is `ENOENT` when there is no such program. */
function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> {
  return new Promise((resolve) => {
    const options = { cwd: root, env: { ...process.env, PATH: searchPath, ...env } };
    execFile(command, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? 'killed'), output: stdout + stderr });
    });
  });
}

/** Names of all environment variables a convict schema reads. */
function environmentNames(node: unknown): string[] {
  if (typeof node !== 'object' || node === null) return [];
  return Object.entries(node).flatMap(([key, value]: [string, unknown]) =>
    key === 'env' && typeof value === 'string' ? [value] : environmentNames(value),
  );
}

/** What a pattern with one group finds in `source`, all of it. */
function captures(source: string, pattern: RegExp): string[] {
  return [...source.matchAll(pattern)].map((match) => match[1] ?? '');
}

describe('deploy - docker-compose.yaml', () => {
  test('runs three NATS servers, three edges and one load balancer', () => {
    assert.deepEqual(natsNames, ['nats-1', 'nats-2', 'nats-3']);
    assert.deepEqual(edgeNames, ['edge-1', 'edge-2', 'edge-3']);
    assert.equal(services.length, 7);
  });

  test('no service can write to its image, become root, or use what the kernel grants to root', () => {
    for (const [name, { cap_drop, read_only, security_opt }] of services) {
      assert.equal(read_only, true, name);
      assert.deepEqual(cap_drop, ['ALL'], name);
      assert.deepEqual(security_opt, ['no-new-privileges:true'], name);
    }
  });

  test('every image has a pinned tag', () => {
    for (const [name, { image, build }] of services) {
      if (build !== undefined) continue;
      assert.match(image ?? '', /^[a-z]+:\d+\.\d+[\w.-]*$/, name);
    }
  });

  test('a service waits only for services that exist and can say they are healthy', () => {
    for (const [name, { depends_on = {} }] of services) {
      for (const [other, { condition }] of Object.entries(depends_on)) {
        const service = compose.services[other];
        assert.ok(service !== undefined, `${name} waits for ${other}, which does not exist`);
        assert.equal(condition, 'service_healthy');
        assert.ok(service.healthcheck !== undefined || service.build !== undefined, `${other} has no health check`);
      }
    }
  });

  test('every named volume is declared and used, every mounted file exists', () => {
    const sources = services.flatMap(([, { volumes = [] }]) => volumes.map((volume) => volume.split(':')[0] ?? ''));
    const named = sources.filter((source) => !source.startsWith('.'));
    assert.deepEqual(named.toSorted(), Object.keys(compose.volumes).toSorted());
    for (const file of sources.filter((source) => source.startsWith('.'))) {
      assert.ok(existsSync(join(root, file)), `${file} does not exist`);
    }
  });

  test('every SUPERMQ_ variable is one the server reads', async (t) => {
    if (!existsSync(schemaFile)) return t.skip('src/config/schema.ts does not exist');
    const { schema } = await import(pathToFileURL(schemaFile).href);
    const known = environmentNames(schema);
    assert.ok(known.includes('SUPERMQ_NATS_SERVERS'), 'the schema names its variables');
    for (const [name, { environment = {} }] of services) {
      const ours = Object.keys(environment).filter((variable) => variable.startsWith('SUPERMQ_'));
      assert.equal(ours.length > 0, edgeNames.includes(name), name);
      for (const variable of ours) assert.ok(known.includes(variable), `${name} sets ${variable}, which nobody reads`);
    }
  });

  test('edges know all NATS servers and keep no more copies than there are servers', () => {
    for (const edge of edgeNames) {
      const { SUPERMQ_NATS_SERVERS: servers, SUPERMQ_NATS_REPLICAS: replicas } =
        compose.services[edge]?.environment ?? {};
      assert.equal(servers, natsNames.map((name) => `nats://${name}:4222`).join(','));
      assert.equal(replicas, String(natsNames.length));
    }
  });

  test('NATS servers have names of their own and routes to all members', () => {
    for (const name of natsNames) {
      const { NATS_SERVER_NAME: serverName, NATS_ROUTES: routes = '[]' } = compose.services[name]?.environment ?? {};
      assert.equal(serverName, name);
      assert.deepEqual(
        JSON.parse(routes),
        natsNames.map((member) => `nats://${member}:6222`),
      );
    }
  });

  test('only the load balancer is reachable from outside, on the ports it listens on', () => {
    const published = services.flatMap(([name, { ports = [] }]) => ports.map((port) => `${name} ${port}`));
    assert.deepEqual(published, ['load-balancer 1883:1883', 'load-balancer 8083:8083']);
    assert.deepEqual(captures(haproxyConfig, /^\s+bind :(\d+)$/gm), ['1883', '8083']);
  });

  test('docker compose accepts it', async (t) => {
    for (const command of [['docker', 'compose'], ['docker-compose']]) {
      const [program = '', ...args] = command;
      if ((await run(program, [...args, 'version'])).code !== 0) continue;
      const { code, output } = await run(program, [...args, 'config', '--quiet']);
      assert.equal(code, 0, output);
      return;
    }
    t.skip('docker compose is not installed');
  });
});

describe('deploy - load balancer', () => {
  test('balances over the edges of docker-compose.yaml, on ports the image exposes', () => {
    const exposed = captures(dockerfile, /^EXPOSE (.*)$/gm).flatMap((ports) => ports.split(' '));
    const servers = captures(haproxyConfig, /^\s+server \S+ (\S+)$/gm);
    assert.deepEqual(
      servers,
      ['1883', '8083'].flatMap((port) => edgeNames.map((name) => `${name}:${port}`)),
    );
    const used = [
      ...servers.map((server) => server.split(':')[1] ?? ''),
      ...captures(haproxyConfig, /check port (\d+)/g),
    ];
    for (const port of used) assert.ok(exposed.includes(port), `the image does not expose ${port}`);
  });

  test('haproxy accepts its configuration', async (t) => {
    const { code, output } = await run('haproxy', ['-c', '-f', 'deploy/haproxy/haproxy.cfg']);
    if (code === 'ENOENT') return t.skip('haproxy is not installed');
    assert.equal(code, 0, output);
  });
});

describe('deploy - nats', () => {
  test('nats-server accepts the cluster configuration with the environment of docker-compose.yaml', async () => {
    const binary = await natsServerBinary();
    for (const name of natsNames) {
      const { environment } = compose.services[name] ?? {};
      const { code, output } = await run(binary, ['-t', '-c', 'deploy/nats/cluster.conf'], environment);
      assert.equal(code, 0, output);
    }
  });

  test('nats-server refuses the cluster configuration without that environment', async () => {
    const { code } = await run(await natsServerBinary(), ['-t', '-c', 'deploy/nats/cluster.conf']);
    assert.equal(code, 1);
  });

  test('nats-server accepts the configuration for a laptop', async () => {
    const { code, output } = await run(await natsServerBinary(), ['-t', '-c', 'deploy/nats/local.conf']);
    assert.equal(code, 0, output);
  });
});

describe('deploy - Dockerfile', () => {
  const stages = dockerfile.split(/^(?=FROM )/m).slice(1);

  test('builds in one stage and runs in another', () => {
    assert.equal(stages.length, 2);
    assert.match(stages[0] ?? '', /npm ci.*npm run build/s);
    assert.doesNotMatch(stages[1] ?? '', /npm /);
  });

  test('runs in production mode as an ordinary user, says how it is, and stops on SIGTERM', () => {
    const runtime = stages[1] ?? '';
    assert.match(runtime, /^USER 1000:1000$/m);
    assert.match(runtime, /^HEALTHCHECK .*\/healthz/ms);
    assert.match(runtime, /^STOPSIGNAL SIGTERM$/m);
    assert.match(runtime, /NODE_ENV=production/);
    assert.match(runtime, /^ENTRYPOINT \["node", "--min-semi-space-size=8", "dist\/main\.js"\]$/m);
  });

  test('what it copies exists and is let through by .dockerignore', () => {
    const passed = captures(text('.dockerignore'), /^!(.+)$/gm);
    const copies = captures(stages.join(''), /^COPY (?!--from)(.*) \S+$/gm).flatMap((sources) => sources.split(' '));
    for (const source of copies) {
      assert.ok(existsSync(join(root, source)), `${source} does not exist`);
      assert.ok(passed.includes(source), `${source} is ignored`);
    }
  });
});

describe('deploy - get-nats-server.sh', () => {
  const script = 'deploy/nats/get-nats-server.sh';

  /** A program that claims to be nats-server `version`. */
  function pretend(path: string, version: string): string {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `#!/bin/sh\necho "nats-server: v${version}"\n`);
    chmodSync(path, 0o755);
    return path;
  }

  function withFolder(body: (folder: string) => Promise<void>): () => Promise<void> {
    return async () => {
      const folder = mkdtempSync(join(tmpdir(), 'supermq-deploy-'));
      try {
        await body(folder);
      } finally {
        rmSync(folder, { recursive: true });
      }
    };
  }

  test(
    'NATS_SERVER_BIN wins, and is refused with both versions when it is too old',
    withFolder(async (folder) => {
      const recent = pretend(join(folder, 'recent'), '2.11.0');
      const old = pretend(join(folder, 'old'), '2.10.29');
      assert.deepEqual(await run('bash', [script], { NATS_SERVER_BIN: recent }), { code: 0, output: `${recent}\n` });
      const refused = await run('bash', [script], { NATS_SERVER_BIN: old });
      assert.equal(refused.code, 1);
      assert.match(refused.output, /2\.10\.29.*2\.11\.0/);
    }),
  );

  test(
    'an old nats-server on PATH is passed over for the newest one in the cache',
    withFolder(async (folder) => {
      pretend(join(folder, 'bin/nats-server'), '2.10.0');
      pretend(join(folder, 'supermq/nats-2.9.0/usr/sbin/nats-server'), '2.9.0');
      pretend(join(folder, 'supermq/nats-2.11.9/usr/sbin/nats-server'), '2.11.9');
      const newest = pretend(join(folder, 'supermq/nats-2.11.10/usr/sbin/nats-server'), '2.11.10');
      const env = { NATS_SERVER_BIN: '', PATH: `${join(folder, 'bin')}:${searchPath}`, XDG_CACHE_HOME: folder };
      assert.deepEqual(await run('bash', [script], env), { code: 0, output: `${newest}\n` });
    }),
  );

  test(
    'a nats-server on PATH that is new enough is used',
    withFolder(async (folder) => {
      const found = pretend(join(folder, 'bin/nats-server'), '3.0.1');
      const env = { NATS_SERVER_BIN: '', PATH: `${join(folder, 'bin')}:${searchPath}` };
      assert.deepEqual(await run('bash', [script], env), { code: 0, output: `${found}\n` });
    }),
  );
});
