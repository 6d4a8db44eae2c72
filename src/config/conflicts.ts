/** Rules between options: each broken one is a sentence that says what to change. */
import { accessSync, constants, statSync } from 'node:fs';
import { authConflicts, authFiles } from './auth-conflicts.ts';
import type { Config } from './config.ts';

/** Empty when all options go together. */
export function findConflicts(config: Config): string[] {
  return [
    ...listenerConflicts(config),
    ...authConflicts(config.auth),
    ...natsConflicts(config),
    ...groupConflicts(config),
    ...drainConflicts(config),
    ...limitConflicts(config),
    ...fileConflicts(config),
  ];
}

/** A lease, and twice that for what a silent node holds (`groupAckWaitSeconds` in node/backplane.ts). */
const LEASES_IN_RETENTION = 3;

/** A group must outlive a node that dies with its last messages. */
function groupConflicts({ groups, leaseSeconds }: Config): string[] {
  const least = leaseSeconds * LEASES_IN_RETENTION;
  if (groups.retentionSeconds >= least) return [];
  return [
    `groups.retentionSeconds is ${groups.retentionSeconds}, but a message of a group can stay with a dead node for ${least} seconds (three times leaseSeconds): set it to ${least} or more.`,
  ];
}

function limitConflicts({ limits }: Config): string[] {
  if (limits.connectBurst === 0 || limits.connectsPerSecond > 0) return [];
  return ['limits.connectBurst is set without limits.connectsPerSecond, and limits nothing: set both or neither.'];
}

/** MQTT 5 has all servers in one string. */
const MAXIMUM_REFERENCE_BYTES = 65_535;

function drainConflicts({ drain: { permanent, serverReference } }: Config): string[] {
  if (permanent && serverReference.length === 0)
    return ['drain.permanent is true without drain.serverReference: name the servers that clients are to use.'];
  if (Buffer.byteLength(serverReference.join(' ')) <= MAXIMUM_REFERENCE_BYTES) return [];
  return [`drain.serverReference is longer than ${MAXIMUM_REFERENCE_BYTES} bytes: name fewer servers.`];
}

function listenerConflicts({ http, mqtt, nats, tls, workers }: Config): string[] {
  const problems: string[] = [];
  if ((mqtt.tls.port !== 0 || mqtt.wss.port !== 0) && (tls.cert === '' || tls.key === '')) {
    problems.push(
      'mqtt.tls.port and mqtt.wss.port need tls.cert and tls.key: name the PEM files, or set the ports to 0.',
    );
  }
  if ((tls.cert === '') !== (tls.key === ''))
    problems.push('tls.cert and tls.key belong together: set both or neither.');
  if (tls.crl !== '' && tls.ca === '')
    problems.push('tls.crl is set without tls.ca: name the authorities of client certificates, or remove tls.crl.');
  problems.push(...portConflicts({ http, mqtt }));
  if (mqtt.unix.path === '' && [mqtt.tcp, mqtt.tls, mqtt.ws, mqtt.wss].every(({ port }) => port === 0)) {
    problems.push(
      'All MQTT listeners are off: set mqtt.tcp.port, mqtt.tls.port, mqtt.ws.port, mqtt.wss.port or mqtt.unix.path.',
    );
  }
  if (workers > 1 && nats.servers.length === 0)
    problems.push(`workers is ${workers}, but workers meet through NATS only: set nats.servers, or workers to 1.`);
  return problems;
}

function portConflicts({ http, mqtt }: Pick<Config, 'http' | 'mqtt'>): string[] {
  const { tcp, tls, ws, wss } = mqtt;
  const used: ReadonlyArray<[key: string, port: number]> = [
    ['mqtt.tcp.port', tcp.port],
    ['mqtt.tls.port', tls.port],
    ['mqtt.ws.port', ws.port],
    ['mqtt.wss.port', wss.port],
    ['http.port', http.port],
  ];
  const problems: string[] = [];
  const owners = new Map<number, string>();
  for (const [key, port] of used) {
    const other = owners.get(port);
    if (port !== 0 && other !== undefined) {
      problems.push(`${key} and ${other} are both ${port}: give each listener a port of its own.`);
    }
    owners.set(port, key);
  }
  return problems;
}

function natsConflicts({ nats }: Config): string[] {
  const problems: string[] = [];
  const ways = {
    'nats.user': nats.user,
    'nats.token': nats.token,
    'nats.nkeySeedFile': nats.nkeySeedFile,
    'nats.credsFile': nats.credsFile,
  };
  const used = Object.entries(ways).flatMap(([key, value]) => (value === '' ? [] : [key]));
  if (used.length > 1)
    problems.push(`${used.join(' and ')} are set: NATS takes one kind of credentials, remove the others.`);
  if (nats.password !== '' && nats.user === '')
    problems.push('nats.password is set without nats.user: set both or neither.');
  if ((nats.tls.cert === '') !== (nats.tls.key === ''))
    problems.push('nats.tls.cert and nats.tls.key belong together: set both or neither.');
  const [topics, inboxes] = [nats.topicPrefix, nats.inboxPrefix].map((prefix) => prefix.split('.')[0]);
  if (topics === inboxes)
    problems.push(
      `nats.topicPrefix and nats.inboxPrefix both begin with ${topics}: answers of NATS would look like messages of clients, choose another first word for one of them.`,
    );
  return problems;
}

function fileConflicts({ acl, auth, nats, tls }: Config): string[] {
  const files = {
    'tls.cert': tls.cert,
    'tls.key': tls.key,
    'tls.ca': tls.ca,
    'tls.crl': tls.crl,
    ...authFiles(auth),
    'acl.file': acl.file,
    'nats.nkeySeedFile': nats.nkeySeedFile,
    'nats.credsFile': nats.credsFile,
    'nats.tls.ca': nats.tls.ca,
    'nats.tls.cert': nats.tls.cert,
    'nats.tls.key': nats.tls.key,
  };
  return Object.entries(files).flatMap(([key, path]) =>
    path === '' || isReadable(path)
      ? []
      : [`${key} is ${path}, which cannot be read: check the path and its permissions.`],
  );
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path).isFile();
  } catch {
    return false; // the sentence says so
  }
}
