/**
 * The session record: all that must outlive a connection, as it lies in the store (docs/session-record.md). Filled by
 * snapshot.ts, read back by opening.ts on whatever node the client comes to. JSON: it is written at most once a second per session
 * and has to be readable with NATS tools.
 */
import type { SubscriptionOptions } from './subscription.ts';

/** A QoS 2 message that a client sent and that is not released yet. */
export interface InboundRecord {
  readonly packetId: number;
  /** Message id in the log: never used twice. */
  readonly messageId: string;
  /** Position of the log when the packet came: where to look for it. */
  readonly position: number;
  /** When it came, milliseconds since the epoch by the log's clock. */
  readonly at: number;
}

/** sent: PUBLISH may have left; released: PUBREC has come, PUBREL may have left. */
export interface OutboundRecord {
  readonly packetId: number;
  readonly sequence: number;
  readonly qos: 1 | 2;
  readonly state: 'sent' | 'released';
  /** A copy of a retained message. */
  readonly isRetained: boolean;
  /**
   * Of a message that came through a group. `text`: the subscription, empty when it is gone; `claim`: what acknowledges it in the group, empty
   * when that is certain already.
   */
  readonly shared?: { readonly text: string; readonly claim: string };
}

export interface SubscriptionRecord {
  readonly text: string;
  readonly options: SubscriptionOptions;
  readonly start: number;
  /** Of each pattern's reader. */
  readonly positions: readonly number[];
  /** Position in the retained store up to which the client has its retained messages; undefined = it has them all, or gets none. */
  readonly retainedDue: number | undefined;
  /** Position in the log when they became due; undefined = as `retainedDue`. */
  readonly retainedUntil: number | undefined;
  /** Positions in the log of retained messages behind it that the client has. */
  readonly retainedDone: readonly number[];
}

export interface SessionRecord {
  readonly clientId: string;
  /** Whose it is; empty = nobody's, and anybody may have it. */
  readonly user: string;
  /** Random per Clean Start: what belongs to an earlier session of this client never fits. */
  readonly uid: string;
  /** Grows with each owner. */
  readonly epoch: number;
  /** The owner's incarnation; empty = nobody: the client is not connected. */
  readonly owner: string;
  /** Counts the writes of one owner: an answer that got lost can be recognised. */
  readonly writes: number;
  /** Session Expiry Interval in seconds; 0xFFFFFFFF = never. */
  readonly expirySeconds: number;
  /** Owners (incarnations of nodes) under which wills of this client may lie. */
  readonly wills: readonly string[];
  /** Identity of the log that the positions are of. */
  readonly log: string;
  readonly subscriptions: readonly SubscriptionRecord[];
  readonly outbound: readonly OutboundRecord[];
  /** Positions above those of the subscriptions that the client has acknowledged. */
  readonly done: readonly number[];
  readonly inbound: readonly InboundRecord[];
}

const VERSION = 1;

export function encodeRecord(record: SessionRecord): Buffer {
  const { done, inbound, outbound, subscriptions, user, ...rest } = record;
  return Buffer.from(
    JSON.stringify({
      version: VERSION,
      ...rest,
      ...(user === '' ? {} : { user }),
      subscriptions: subscriptions.map(
        ({ options: o, positions, retainedDone, retainedDue, retainedUntil = 0, start, text }) => [
          text,
          o.qos,
          (o.noLocal ? 1 : 0) + (o.retainAsPublished ? 2 : 0) + o.retainHandling * 4,
          o.identifier,
          start,
          positions,
          ...(retainedDue === undefined ? [] : [[retainedDue, retainedUntil, ...retainedDone]]),
        ],
      ),
      outbound: outbound.map(({ isRetained, packetId, qos, sequence, shared, state }) => {
        const delivery = [packetId, sequence, qos, state];
        if (isRetained) return [...delivery, 'retained'];
        if (shared === undefined) return delivery;
        return [...delivery, subscriptions.findIndex(({ text }) => text === shared.text), shared.claim];
      }),
      done,
      inbound: inbound.map(({ at, messageId, packetId, position }) => [packetId, messageId, position, at]),
    }),
  );
}

interface Encoded extends Omit<SessionRecord, 'subscriptions' | 'outbound' | 'inbound'> {
  readonly version: number;
  readonly subscriptions: ReadonlyArray<[string, 0 | 1 | 2, number, number, number, number[], number[]?]>;
  /** The last two: index of the subscription, and claim, of a message that came through a group; or `retained`. */
  readonly outbound: ReadonlyArray<[number, number, 1 | 2, OutboundRecord['state'], (number | 'retained')?, string?]>;
  readonly inbound: ReadonlyArray<[number, string, number, number]>;
}

/** @throws Error for a record that a newer version has written or that is none */
export function decodeRecord(bytes: Buffer): SessionRecord {
  const encoded = JSON.parse(bytes.toString()) as Encoded; // decoded border: only encodeRecord writes here
  if (encoded.version !== VERSION) throw new Error(`session record of version ${encoded.version}, ${VERSION} is known`);
  const { version: _, ...rest } = encoded;
  return {
    ...rest,
    user: rest.user ?? '',
    // Records of before wills were stored have none.
    wills: rest.wills ?? [],
    subscriptions: encoded.subscriptions.map(([text, qos, flags, identifier, start, positions, retained]) => ({
      text,
      options: {
        qos,
        noLocal: (flags & 1) !== 0,
        retainAsPublished: (flags & 2) !== 0,
        retainHandling: (flags >> 2) as SubscriptionOptions['retainHandling'], // two bits, 3 is never accepted
        identifier,
      },
      start,
      positions,
      retainedDue: retained?.[0],
      retainedUntil: retained?.[1],
      retainedDone: retained?.slice(2) ?? [],
    })),
    outbound: encoded.outbound.map(([packetId, sequence, qos, state, from, claim = '']) => ({
      packetId,
      sequence,
      qos,
      state,
      isRetained: from === 'retained',
      ...(typeof from === 'number' ? { shared: { text: encoded.subscriptions[from]?.[0] ?? '', claim } } : {}),
    })),
    inbound: encoded.inbound.map(([packetId, messageId, position, at]) => ({ packetId, messageId, position, at })),
  };
}
