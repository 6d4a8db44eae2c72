/** Which server of a NATS cluster leads the log. */
import { connect as connectNats } from 'nats';
import type { NatsCluster } from '../support/nats-cluster.ts';
import type { NatsServerProcess } from '../support/nats-server.ts';
import { poll } from '../support/poll.ts';

const LEADER_MILLISECONDS = 30_000;
const ANSWER_MILLISECONDS = 2_000;

/** The running server that leads the log; waits until there is one. */
export async function streamLeader(cluster: NatsCluster): Promise<NatsServerProcess> {
  let found: NatsServerProcess | undefined;
  const check = async (): Promise<boolean> => {
    // No answer: an election is on.
    found = await askLeader(cluster).catch(() => undefined);
    return found?.isRunning === true;
  };
  await poll(check, { what: 'a leader of the log', timeoutMs: LEADER_MILLISECONDS });
  if (found === undefined) throw new Error('no leader');
  return found;
}

async function askLeader(cluster: NatsCluster): Promise<NatsServerProcess | undefined> {
  const servers = cluster.servers.filter(({ isRunning }) => isRunning).map(({ url }) => url);
  const connection = await connectNats({ servers, timeout: ANSWER_MILLISECONDS, reconnect: false });
  try {
    const manager = await connection.jetstreamManager({ timeout: ANSWER_MILLISECONDS });
    const { cluster: group } = await manager.streams.info('SMQ_LOG');
    return cluster.servers.find((_, index) => group?.leader === `nats-${index + 1}`);
  } finally {
    await connection.close();
  }
}
