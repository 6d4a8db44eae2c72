/** Under what circumstances a table was measured: the line below it. */
import { cpus, release } from 'node:os';

export interface Version {
  readonly name: string;
  readonly version: string;
}

export interface Circumstances {
  readonly rounds: number;
  readonly versions: readonly Version[];
  /** What the reader types to measure it again. */
  readonly command: string;
}

/** Date, rounds, versions, machine and command. */
export function circumstances({ rounds, versions, command }: Circumstances, now = new Date()): string {
  const servers = versions.map(({ name, version }) => `${name} ${version}`).join(', ');
  return `${now.toISOString().slice(0, 10)}, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, \`${command}\`. ${servers}; ${machine()}.`;
}

/** Node, kernel version and processor. */
export function machine(): string {
  const all = cpus();
  return `Node.js ${process.version.slice(1)}, Linux ${release().split('.').slice(0, 2).join('.')}, ${all[0]?.model.trim()}, ${all.length} cores`;
}
