/** Which versions the benches measure. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The commit, and whether what was built differs from it. */
export function supermqVersion(): string {
  const commit = firstMatch('git', ['-C', root, 'rev-parse', '--short', 'HEAD'], /(\w+)/);
  if (commit === undefined) return packageVersion(join(root, 'package.json'));
  const changes = firstMatch('git', ['-C', root, 'status', '--porcelain', 'src', 'package-lock.json'], /(\S)/);
  return changes === undefined ? commit : `${commit} with changes`;
}

/** What a package.json says. */
export function packageVersion(file: string): string {
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** The first group of the pattern in what a command prints; undefined when it is not installed or prints something else. */
export function firstMatch(command: string, args: readonly string[], pattern: RegExp): string | undefined {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return pattern.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[1];
}

/** Of this nats-server program. */
export function natsVersion(binary: string): string {
  return firstMatch(binary, ['-v'], /v([\d.]+)/) ?? 'unknown';
}
