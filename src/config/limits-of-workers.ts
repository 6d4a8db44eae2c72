/** What several workers allow together: each is a node of its own and counts for itself. Told where the configuration is shown and at the start. */
import type { Config } from './config.ts';

type LimitName = keyof Config['limits'];

/** Limits that count over the clients of a node, so that several workers allow more than one does. */
const COUNTED_PER_WORKER = [
  'maxConnections',
  'maxConnectionsPerAddress',
  'maxConnectionsPerUser',
  'connectsPerSecond',
  'connectBurst',
  'connectsPerSecondPerAddress',
  'maxArrivals',
  'maxGroups',
  'maxMemoryBytes',
] as const satisfies readonly LimitName[];

/** Those of the jail, which is off by default. */
const JAIL = ['jailFailures', 'jailReconnects'] as const satisfies readonly LimitName[];

/** The most that all workers together allow, by the names of the options; limits that are off are left out. */
export function limitsOfWorkers({ limits, workers }: Config): Readonly<Record<string, number>> {
  const names = limits.jailSeconds > 0 ? [...COUNTED_PER_WORKER, ...JAIL] : COUNTED_PER_WORKER;
  const set = names.filter((name) => limits[name] > 0);
  return Object.fromEntries(set.map((name) => [`limits.${name}`, limits[name] * workers]));
}
