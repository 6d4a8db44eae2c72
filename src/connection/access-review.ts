/**
 * What a client has already, against the rules as they are: at the resume of its session, when its credentials are renewed, and of all clients
 * when the file of rules changes. Decisions about messages are forgotten at once then; subscriptions and wills are gone through in turns, so that
 * served clients wait for none of it. A client that has what it may not have any more is closed with 0x87, and knows.
 */
import { publishBit } from '../access/compiled-rule.ts';
import type { QoS } from '../mqtt/packet.ts';
import { parseFilter } from '../mqtt/topic.ts';
import type { Connection } from './connection.ts';
import type { Connections } from './connections.ts';

/** Connections and subscriptions together that one turn of the event loop looks at. */
const REVIEWED_PER_TURN = 500;

/** A subscription as far as rules are concerned. */
interface Held {
  readonly text: string;
  readonly filter: string;
  readonly qos: QoS;
}

/** The highest QoS at which the client may have a stored subscription; undefined = not at all, which is counted. */
export function permittedOnResume(connection: Connection, text: string): QoS | undefined {
  const { access } = connection;
  const parsed = parseFilter(text);
  if (access === undefined || parsed === undefined) return 2;
  const qos = access.subscribeQos(parsed.filter);
  if (qos === undefined) connection.denied('resume', text);
  return qos;
}

/** The credentials were renewed: what came with them holds from now on. */
export function renewAccess(connection: Connection): void {
  const { client, identity, node } = connection;
  if (client === undefined) return;
  const { groups, rules, username } = identity;
  connection.access = node.authorizer.accessOf({ clientId: client.id, username, groups, rules });
  reviewConnection(connection);
}

/** Returns how much there was to look at. */
export function reviewConnection(connection: Connection): number {
  const { access, isClosed, will } = connection;
  if (access === undefined || isClosed || connection.client === undefined) return 1;
  access.isReviewDue = false;
  const held = heldBy(connection);
  let isRevoked = false;
  for (const { filter, qos, text } of held) {
    const permitted = access.subscribeQos(filter);
    if (permitted !== undefined && permitted >= qos) continue;
    isRevoked = true;
    // One that is left at a lower QoS gets it when the session is resumed.
    if (permitted === undefined) end(connection, text);
  }
  const retain = will?.extras?.retain === true;
  const mayPublishWill = will === undefined || access.mayPublish(will.route.name, publishBit(will.qos, retain));
  if (isRevoked || !mayPublishWill) {
    connection.denied('revoke', '');
    connection.revoke(mayPublishWill);
  }
  return held.length + 1;
}

function heldBy({ sessionIfMade, subscriptionsIfMade }: Connection): readonly Held[] {
  if (sessionIfMade !== undefined)
    return Array.from(sessionIfMade.subscriptions(), ({ filter, options: { qos }, text }) => ({ text, filter, qos }));
  return Array.from(subscriptionsIfMade?.all() ?? [], ({ filter, text }) => ({ text, filter, qos: 0 }));
}

function end({ sessionIfMade, subscriptionsIfMade }: Connection, text: string): void {
  sessionIfMade?.unsubscribe(text);
  subscriptionsIfMade?.remove(text);
}

/** The review of all clients when the file of rules has changed. */
export class AccessReview {
  readonly #connections: Connections;
  /** Still to be looked at. */
  #waiting: Connection[] = [];
  #isRunning = false;

  constructor(connections: Connections) {
    this.#connections = connections;
  }

  /** Begins anew when the last one has not come to its end. */
  begin(): void {
    this.#waiting = this.#connections.snapshot();
    for (const { access } of this.#waiting) access?.reset();
    if (!this.#isRunning) this.#next();
  }

  stop(): void {
    this.#waiting = [];
  }

  #next(): void {
    let reviewed = 0;
    while (reviewed < REVIEWED_PER_TURN) {
      const connection = this.#waiting.pop();
      if (connection === undefined) break;
      reviewed += reviewConnection(connection);
    }
    this.#isRunning = this.#waiting.length > 0;
    if (this.#isRunning) setImmediate(() => this.#next());
  }
}
