/**
 * A node as a container confines it, without a container engine: an unprivileged user without capabilities, a file system that nobody can
 * write to. And the Kubernetes manifests ask for that.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { schema } from '../../src/config/schema.ts';
import { secretFileEnv } from '../../src/config/secret-files.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { poll } from '../support/poll.ts';
import { freePort } from '../support/ports.ts';
import { RawClient } from '../support/raw-client.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const USER = 1000;
/** In a mount namespace of its own the whole file system is read-only, then everything is given up. */
const CONFINE = [
  'mount -o remount,bind,ro / && cd "$0" &&',
  `exec setpriv --pdeathsig KILL --reuid=${USER} --regid=${USER} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"`,
].join(' ');

function confined(...command: string[]): [string, string[]] {
  return ['unshare', ['-m', '--', 'sh', '-c', CONFINE, root, ...command]];
}

/** Whether this machine lets the test build such a place; not in most containers, nor for an ordinary user. */
function canConfine(): boolean {
  const [command, args] = confined('node', '--version');
  return spawnSync(command, args).status === 0;
}

test('confinement - a node with workers serves as an ordinary user without capabilities on a read-only file system', {
  timeout: 60_000,
}, async (t) => {
  if (!canConfine()) return t.skip('unshare and setpriv cannot confine a process here');
  const [program, touch] = confined('sh', '-c', 'touch written || echo "$(id -u) $(grep CapEff /proc/self/status)"');
  const { stdout } = spawnSync(program, touch, { encoding: 'utf8' });
  assert.match(stdout, new RegExp(`^${USER} CapEff:\\s+0+$`, 'm'));
  const nats = await startNatsServer();
  const [tcp, http] = [await freePort(), await freePort()];
  const [command, args] = confined('node', 'dist/main.js');
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      SUPERMQ_NATS_SERVERS: nats.url,
      SUPERMQ_WORKERS: '2',
      SUPERMQ_MQTT_TCP_HOST: '127.0.0.1',
      SUPERMQ_MQTT_TCP_PORT: String(tcp),
      SUPERMQ_MQTT_WS_PORT: '0',
      SUPERMQ_HTTP_PORT: String(http),
    },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const isReady = async (): Promise<boolean> =>
    (await fetch(`http://127.0.0.1:${http}/readyz`).catch(() => undefined))?.ok === true;
  const giveUp = (): void => assert.equal(child.exitCode, null, output);
  await poll(isReady, { what: 'a confined node', timeoutMs: 30_000, giveUp });
  const client = await RawClient.connect(tcp, { version: 5 });
  assert.equal(await client.publishAcknowledged('a', 'b', 1), 0);
  await client.end();
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null], output);
  await nats.stop();
});

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env: ReadonlyArray<{ readonly name: string; readonly value?: string }>;
  readonly ports?: ReadonlyArray<{ readonly containerPort: number }>;
  readonly securityContext: unknown;
  readonly volumeMounts: ReadonlyArray<{ readonly mountPath: string; readonly readOnly: boolean }>;
}

interface Pod {
  readonly automountServiceAccountToken: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly containers: readonly Container[];
}

interface Manifest {
  readonly kind: string;
  readonly spec: { readonly template?: { readonly spec: Pod } };
}

const manifests = parseAllDocuments(readFileSync(`${root}/deploy/kubernetes/supermq.yaml`, 'utf8')).map((document) => {
  assert.deepEqual(document.errors, []);
  return document.toJS() as Manifest; // our own file
});
const pods = manifests.flatMap(({ spec }) => (spec.template === undefined ? [] : [spec.template.spec]));

test('confinement - the Kubernetes manifests ask for a user that is not root, no capabilities, a read-only file system, no token', () => {
  assert.deepEqual(
    manifests.map(({ kind }) => kind),
    ['Job', 'Deployment', 'Service', 'PodDisruptionBudget', 'NetworkPolicy'],
  );
  assert.equal(pods.length, 2);
  for (const { automountServiceAccountToken, containers, securityContext } of pods) {
    assert.equal(automountServiceAccountToken, false);
    assert.deepEqual(securityContext, {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      fsGroup: USER,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    for (const container of containers) {
      assert.deepEqual(container.securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      for (const { readOnly } of container.volumeMounts) assert.equal(readOnly, true);
    }
  }
});

test('confinement - the Kubernetes manifests use the ports of the image and options that exist, and hold no secret', () => {
  const dockerfile = readFileSync(`${root}/Dockerfile`, 'utf8');
  assert.match(dockerfile, new RegExp(`^USER ${USER}:${USER}$`, 'm'));
  const exposed = /^EXPOSE (.*)$/m.exec(dockerfile)?.[1]?.split(' ').map(Number);
  const secrets = schema.filter(({ isSecret }) => isSecret);
  const known = new Set([...schema.map(({ env }) => env), ...secrets.map(secretFileEnv)]);
  for (const { env, ports = [] } of pods.flatMap(({ containers }) => containers)) {
    for (const { containerPort } of ports) assert.ok(exposed?.includes(containerPort), String(containerPort));
    for (const { name } of env) {
      assert.ok(known.has(name), name);
      assert.ok(!secrets.some((secret) => secret.env === name), `${name} stands in the manifest`);
    }
  }
});
