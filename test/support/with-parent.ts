/** Commands that the kernel ends with the process that started them, even when that one was killed; elsewhere than on Linux they are left as they are. */
import { existsSync } from 'node:fs';

const SETPRIV = '/usr/bin/setpriv';

/** Command and arguments for `spawn`; the process keeps its pid. */
export function endsWithParent(command: string, args: readonly string[]): [command: string, args: readonly string[]] {
  return existsSync(SETPRIV) ? [SETPRIV, ['--pdeathsig', 'KILL', command, ...args]] : [command, args];
}
