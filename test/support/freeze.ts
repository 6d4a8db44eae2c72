/** Freezes a process for a test: sockets stay open and silent. */
import { readdirSync, readFileSync } from 'node:fs';

const STOPPED_MILLISECONDS = 2_000;

/** Returns when none of its threads runs any more: a signal takes a moment, in which a busy server answers. */
export function freeze(pid: number): void {
  process.kill(pid, 'SIGSTOP');
  const deadline = performance.now() + STOPPED_MILLISECONDS;
  while (!isStopped(pid)) {
    if (performance.now() > deadline) throw new Error(`process ${pid} does not stop`);
  }
}

function isStopped(pid: number): boolean {
  const folder = `/proc/${pid}/task`;
  return readdirSync(folder).every((thread) => {
    const stat = readFileSync(`${folder}/${thread}/stat`, 'utf8');
    return stat.charAt(stat.lastIndexOf(')') + 2) === 'T';
  });
}
