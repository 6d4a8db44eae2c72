/** One scenario on one server, once: the figures of a table's row, or why there are none. */
import { type LoadResult, runLoad } from './load-generator.ts';
import type { RunningPeer } from './peers.ts';
import { OTHER_CORE } from './pinned-process.ts';
import { cpuSeconds } from './process-figures.ts';
import type { Figures, Outcome } from './table.ts';

export async function measure(generator: string, peer: RunningPeer, scenario: readonly string[]): Promise<Outcome> {
  const args = [...scenario, '-h', `127.0.0.1:${peer.port}`, '--pid', String(peer.pid)];
  try {
    const natsBefore = natsCpu(peer);
    const result = await runLoad(generator, args, OTHER_CORE);
    const failed = reasonOf(result);
    return failed === undefined ? { figures: figuresOf(result, natsCpu(peer) - natsBefore) } : { failed };
  } catch {
    // Its entry under /proc is gone.
    return { failed: 'the server ended' };
  }
}

function natsCpu({ natsPid }: RunningPeer): number {
  return natsPid === undefined ? 0 : cpuSeconds(natsPid);
}

function reasonOf({ error, timed_out, delivered, conns, connected }: LoadResult): string | undefined {
  if (error !== undefined) return error;
  if (timed_out === true) return 'not finished within 60 s';
  if (delivered === 0) return 'nothing was delivered';
  return connected === conns ? undefined : `${connected} of ${conns} clients were connected`;
}

/** What a scenario does not tell is NaN. NATS's CPU time is that of the whole run, connecting and warm-up included. */
function figuresOf(result: LoadResult, natsSeconds: number): Figures {
  const done = result.delivered ?? result.connected ?? Number.NaN;
  const cpu = result.broker_cpu_s ?? result.connect_cpu_s ?? Number.NaN;
  return {
    'messages/s': result.deliver_rate ?? Number.NaN,
    'connects/s': result.connects_per_s ?? Number.NaN,
    'per CPU-s': cpu > 0 ? done / cpu : Number.NaN,
    'per CPU-s with NATS': cpu > 0 ? done / (cpu + natsSeconds) : Number.NaN,
    lost: result.lost ?? Number.NaN,
    'drain s': result.drain_s ?? Number.NaN,
    'p50 µs': result.lat_us?.['p50'] ?? Number.NaN,
    'p99 µs': result.lat_us?.['p99'] ?? Number.NaN,
    'bytes each': result.bytes_per_conn ?? Number.NaN,
    gen_busy: result.gen_busy ?? Number.NaN,
  };
}
