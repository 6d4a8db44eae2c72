/**
 * The retained messages for a SUBSCRIBE, behind its SUBACK. A client without a session gets one only if something is retained for it:
 * most subscriptions find nothing.
 */

import type { RetainedPage } from '../broker/ports.ts';
import { parseFilter } from '../mqtt/topic.ts';
import { NotedTopics } from '../noted-topics.ts';
import type { Sessions } from '../session/sessions.ts';
import type { Connection } from './connection.ts';

const START = { position: 0, isBroad: false };
const RETRY_MILLISECONDS = 500;

/** The subscription in `text` is owed its retained messages; to be sent by {@link sendRetained}. */
export function oweRetained(connection: Connection, text: string, due: string[]): void {
  connection.subscriptions.note(text, new NotedTopics());
  connection.sessionIfMade?.oweRetained(text);
  due.push(text);
}

export function sendRetained(connection: Connection, due: readonly string[]): void {
  const { sessions } = connection.node;
  if (sessions === undefined) return;
  // Closed meanwhile, or a defect that fail() reports.
  sendAll(connection, sessions, due).catch((error: unknown) => connection.fail(error));
}

async function sendAll(connection: Connection, sessions: Sessions, due: readonly string[]): Promise<void> {
  // What the client itself has retained before it subscribed is found.
  await connection.retained();
  const until = await lastOf(connection, sessions);
  const since = connection.node.clock.now();
  for (const text of due) {
    if (connection.isClosed) return;
    const subscription = connection.subscriptions.get(text);
    if (subscription === undefined) continue; // unsubscribed meanwhile
    const { noted = new NotedTopics() } = subscription;
    if (connection.sessionIfMade === undefined && !(await isRetained(connection, sessions, text, since))) {
      connection.subscriptions.note(text, undefined);
      continue;
    }
    if (connection.isClosed) return;
    const { session } = connection;
    session.oweRetained(text);
    session.readRetained(text, { until, since, noted });
  }
}

/** Where the log is now; asked until it answers. */
async function lastOf(connection: Connection, { log }: Sessions): Promise<number> {
  for (;;) {
    try {
      return (await log.state()).last;
    } catch (error) {
      if (connection.isClosed) throw error;
    }
    await pause();
  }
}

async function isRetained(
  connection: Connection,
  { retained }: Sessions,
  text: string,
  since: number,
): Promise<boolean> {
  const { filter } = parseFilter(text) ?? { filter: text };
  for (;;) {
    try {
      const page: RetainedPage = await retained.page(filter, START, since);
      return page.messages.length > 0 || page.next !== undefined;
    } catch (error) {
      if (connection.isClosed) throw error;
    }
    await pause();
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS).unref());
}
