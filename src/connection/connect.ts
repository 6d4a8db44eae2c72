/**
 * CONNECT: the ordered steps to CONNACK, and the refusals. Check what was asked → settle the client id → check the will →
 * claim the client id in the cluster (the old connection is closed by then) → CONNACK. A client that has named an authentication
 * method has proved who it is before the first of these (authenticate.ts).
 */
import { randomUUID } from 'node:crypto';
import { publishBit } from '../access/compiled-rule.ts';
import type { Claim, Claimed, ClaimRequest, StoredSession } from '../broker/ports.ts';
import { encodeConnack, encodeConnackRefusal, encodeUnsupportedVersion } from '../mqtt/codec.ts';
import { UnsupportedVersionError } from '../mqtt/connect.ts';
import type { ConnackOptions, ConnectPacket } from '../mqtt/packet.ts';
import { MqttError, Reason, RedirectError } from '../mqtt/reason.ts';
import type { OpenedSession, OpenRequest } from '../session/opening.ts';
import type { Session } from '../session/session.ts';
import { acceptWill, type Will } from '../session/will.ts';
import { StoreFullError } from '../store-full.ts';
import { permittedOnResume, reviewConnection } from './access-review.ts';
import { announced, responseInformationFor } from './capabilities.ts';
import type { Connection } from './connection.ts';

const ANOTHER_USERS = 'the client id belongs to another user';
/** Of a node without sessions. */
const nothingStored: Promise<StoredSession> = Promise.resolve({ record: undefined, revision: 0 });

/** Works a CONNECT through; rejects with an MqttError for a refusal. `arrival`: of the cluster, when it came. */
export async function acceptConnect(connection: Connection, packet: ConnectPacket, arrival: number): Promise<void> {
  const { node } = connection;
  node.connections.checkAccepts();
  if (!node.bus.isConnected || node.sessions?.mayServe(node.clock.now()) === false)
    throw new MqttError(Reason.serverUnavailable, 'the node is not connected to its backplane');
  const clientId = settleClientId(connection, packet);
  checkFlapping(connection, clientId);
  checkWillSize(connection, packet);
  checkConnackFits(connection, packet, clientId);
  const { groups, rules, username } = connection.identity;
  connection.access = node.authorizer.accessOf({ clientId, username, groups, rules });
  const will = packet.will === undefined ? undefined : acceptWill(packet.will, packet.version, node);
  if (will !== undefined) checkWill(connection, will);
  if (await isStranger(connection, clientId)) throw new MqttError(Reason.notAuthorized, ANOTHER_USERS);
  if (connection.isClosed) return;
  connection.awaitCluster();
  const claimed = await claim(connection, clientId, arrival);
  if (claimed === undefined) throw new MqttError(Reason.notAuthorized, ANOTHER_USERS);
  countUser(connection, claimed.claim);
  connection.will = will;
  const accepting = accept(connection, packet, clientId, claimed);
  // Who takes the client over from here on waits until what this connection has opened is given back.
  connection.ended = accepting.catch(() => {});
  return accepting;
}

/**
 * Whether another user has a stored session of this id: asked before the id is claimed, since the claim of somebody who is refused in the end
 * would be in the way of its owner. One round trip more, and only where users have names.
 */
async function isStranger({ node, user }: Connection, clientId: string): Promise<boolean> {
  if (user === '' || node.sessions === undefined) return false;
  try {
    return await node.sessions.isAnothers(clientId, user);
  } catch (cause) {
    throw new MqttError(Reason.serverUnavailable, 'the session cannot be read', { cause });
  }
}

/** Undefined: another user has the client. @throws MqttError 0x89 when too many others wait for it */
function claim(connection: Connection, clientId: string, arrival: number): Promise<Claimed<StoredSession> | undefined> {
  const { node } = connection;
  const request = claimRequest(connection, clientId, arrival);
  return node.claimWaits.run(clientId, () => node.cluster.claim(request));
}

/** Apart from {@link claim}: the variables of these functions are kept for as long as the client is connected. */
function claimRequest(connection: Connection, clientId: string, arrival: number): ClaimRequest<StoredSession> {
  return {
    clientId,
    arrival,
    user: connection.user,
    yielded: () => connection.takenOver(),
    isGone: () => connection.isClosed,
    look: () => connection.node.sessions?.look(clientId) ?? nothingStored,
  };
}

/** @throws MqttError 0x9F for a client id that is jailed at this address */
function checkFlapping({ countedAs, node }: Connection, clientId: string): void {
  if (countedAs === '' || node.admission.jail === undefined || node.admission.jail.admitsClient(countedAs, clientId))
    return;
  node.counters.limited.jailReconnects++;
  throw new MqttError(Reason.connectionRateExceeded, 'the client connects again too often');
}

/** @throws MqttError 0x95, as where the store takes no will of that size */
function checkWillSize({ node: { counters, limits } }: Connection, { will }: ConnectPacket): void {
  if (will === undefined) return;
  const bytes = Buffer.byteLength(will.topic) + will.payload.length + will.properties.length;
  if (bytes <= limits.maximumWillBytes) return;
  counters.limited.maxWillBytes++;
  throw new MqttError(Reason.packetTooLarge, `a will of more than ${limits.maximumWillBytes} bytes`);
}

/**
 * Behind the claim: an earlier connection of the same client has given up its place by then.
 * @throws MqttError 0x97 for a user who has enough connections
 */
function countUser(connection: Connection, claim: Claim): void {
  const { identity, isClosed, node } = connection;
  const { users } = node.admission;
  if (isClosed || !users.isOn || identity.username === '') return;
  if (users.enters(identity.username)) {
    connection.countedUser = identity.username;
    return;
  }
  claim.release();
  node.counters.limited.maxConnectionsPerUser++;
  throw new MqttError(Reason.quotaExceeded, 'quota: no more connections of this user');
}

/** A will is a message that the client publishes later: checked when it is registered. @throws MqttError 0x87, or for the store's reasons */
function checkWill(connection: Connection, will: Will): void {
  const bit = publishBit(will.qos, will.extras?.retain === true);
  if (connection.access?.mayPublish(will.route.name, bit) === false) {
    connection.denied('will', will.route.name);
    throw new MqttError(Reason.notAuthorized, 'not authorized to publish the will');
  }
  connection.node.sessions?.wills.check(will);
}

/** The client id is ours: its session, then CONNACK. What was opened is given back when the connection does not live to see it. */
async function accept(
  connection: Connection,
  packet: ConnectPacket,
  clientId: string,
  { claim, found }: Claimed<StoredSession>,
): Promise<void> {
  let opened: OpenedSession | undefined;
  let isStored = false;
  let release = nothing;
  try {
    if (!connection.isClosed) opened = await openSession(connection, packet, clientId, found);
    if (!connection.isClosed && opened !== undefined) await storeWill(connection, packet, clientId, opened);
    if (!connection.isClosed && opened?.session !== undefined)
      release = await subscribeAhead(connection, opened.session);
    isStored = true;
    if (!connection.isClosed) {
      finishConnect(connection, packet, { clientId, claim, opened });
      return release();
    }
    release();
    await giveBack(connection, opened);
    claim.release();
  } catch (cause) {
    release();
    await giveBack(connection, opened);
    claim.release();
    if (isStored || cause instanceof MqttError) throw cause;
    if (cause instanceof StoreFullError) {
      connection.node.counters.sessionsRefused++;
      throw new MqttError(Reason.quotaExceeded, `quota: ${cause.message}`, { cause });
    }
    // The store does not answer: the client may try elsewhere, or later.
    throw new MqttError(Reason.serverUnavailable, 'the session or the will cannot be read or written', { cause });
  }
}

/**
 * What is published behind CONNACK reaches a client whose session is resumed: the node has its subscriptions by then. Members of groups
 * join behind it, since a message could be theirs before. Returns the end of that, for when the client has them itself.
 */
async function subscribeAhead({ node }: Connection, session: Session): Promise<() => void> {
  const filters = [...session.subscriptions()].flatMap(({ filter, group }) => (group === undefined ? [filter] : []));
  if (filters.length === 0) return nothing;
  const release = node.subscriptions.hold(filters);
  try {
    await node.bus.confirm();
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

function nothing(): void {}

/** A will of a connection that was never accepted is none. */
async function giveBack({ heldWill, node }: Connection, opened: OpenedSession | undefined): Promise<void> {
  if (heldWill !== undefined) await node.sessions?.endWill(heldWill, opened?.session, false);
  if (opened?.session === undefined) return;
  const { previousExpirySeconds = 0, session } = opened;
  // Nor does it end a session that was there.
  session.expirySeconds = Math.max(session.expirySeconds, previousExpirySeconds);
  await node.sessions?.close(session);
}

/** Stored before CONNACK. [MQTT5 3.1.2-7] */
async function storeWill(
  connection: Connection,
  packet: ConnectPacket,
  clientId: string,
  { noteRevision }: OpenedSession,
): Promise<void> {
  const { node, will } = connection;
  if (will === undefined) return;
  const sessionExpirySeconds = grantedExpiry(connection, packet);
  connection.heldWill = await node.sessions?.wills.store({ clientId, will, sessionExpirySeconds, noteRevision });
}

interface Accepted {
  readonly clientId: string;
  readonly claim: Claim;
  readonly opened: OpenedSession | undefined;
}

/** CONNACK, and what the session has waited with goes out behind it. [MQTT5 3.2.0-1] [MQTT311 3.2.0-1] */
function finishConnect(connection: Connection, packet: ConnectPacket, { claim, clientId, opened }: Accepted): void {
  const { node } = connection;
  const session = opened?.session;
  const keepAliveSeconds = enforcedKeepAlive(packet, node.limits.maximumKeepAliveSeconds);
  const sessionPresent = opened?.isPresent === true;
  const options = connackOf(connection, packet, { clientId, keepAliveSeconds, sessionPresent });
  const connack = encodeConnack(packet.version, options, packet.maximumPacketSize);
  node.counters.connectsAccepted++;
  if (session !== undefined) restoreSubscriptions(connection, session);
  connection.send(connack);
  const { receiveMaximum, sessionExpirySeconds: requestedExpirySeconds, version } = packet;
  const client = { id: clientId, version, requestedExpirySeconds, receiveMaximum, claim };
  connection.connected(client, keepAliveSeconds, session);
  // The rules have changed while the session was opened.
  if (connection.access?.isReviewDue === true) reviewConnection(connection);
  connection.debug('accepted', 'The client is connected', { version, keepAliveSeconds, sessionPresent });
}

/** Before the client id is claimed: who could not take its CONNACK closes no other connection and touches no session. [MQTT5 3.1.2-24] */
function checkConnackFits(connection: Connection, packet: ConnectPacket, clientId: string): void {
  if (packet.maximumPacketSize === Number.POSITIVE_INFINITY) return;
  const keepAliveSeconds = enforcedKeepAlive(packet, connection.node.limits.maximumKeepAliveSeconds);
  const options = connackOf(connection, packet, { clientId, keepAliveSeconds, sessionPresent: false });
  const connack = encodeConnack(packet.version, options, packet.maximumPacketSize);
  connection.sender.checkFits(connack.length, 'CONNACK');
}

function openSession(
  connection: Connection,
  packet: ConnectPacket,
  clientId: string,
  found: Promise<StoredSession>,
): Promise<OpenedSession> | undefined {
  const { cleanStart, receiveMaximum, version } = packet;
  const request: OpenRequest = {
    clientId,
    user: connection.user,
    ignoresUsers: !connection.node.bindsClientIds,
    version,
    cleanStart,
    receiveMaximum,
    hasWill: connection.will !== undefined,
    expirySeconds: grantedExpiry(connection, packet),
    outlet: connection.sender,
    fenced: () => connection.fenced(),
    retainedRead: (text) => connection.subscriptions.note(text, undefined),
    ...(connection.access === undefined ? {} : { permitted: (text) => permittedOnResume(connection, text) }),
    isGone: () => connection.isClosed,
  };
  return connection.node.sessions?.open(request, found);
}

/** MQTT5 section 3.2.2.3.2 */
function grantedExpiry({ node }: Connection, { sessionExpirySeconds }: ConnectPacket): number {
  if (node.sessions === undefined) return 0;
  return Math.min(sessionExpirySeconds, node.limits.maximumSessionExpirySeconds);
}

/** The subscriptions of a resumed session are in effect on the bus too: QoS 0 messages and groups come from there. */
function restoreSubscriptions(connection: Connection, session: Session): void {
  const { sender: subscriber, subscriptions } = connection;
  subscriber.readsLog = session.readsLog;
  for (const { filter, group, options, text } of session.subscriptions()) {
    const { identifier, noLocal, retainAsPublished } = options;
    subscriptions.add({ subscriber, text, filter, group, identifier, noLocal, retainAsPublished });
  }
}

/** Says why a CONNECT is refused, in a form that its sender can read, or says nothing where there is none. */
export function refuseConnect(connection: Connection, error: MqttError): void {
  connection.node.counters.connectsRefused++;
  const packet = refusalOf(connection, error);
  if (packet !== undefined) connection.sender.send(packet);
}

function refusalOf(connection: Connection, error: MqttError): Buffer | undefined {
  if (error instanceof UnsupportedVersionError) return encodeUnsupportedVersion(error.level); // [MQTT5 3.1.2-2] [MQTT311 3.1.2-2]
  const version = connection.requestedVersion;
  if (version === undefined) return undefined;
  const reference = error instanceof RedirectError ? error.serverReference : undefined;
  return encodeConnackRefusal(version, error.reason, error.message, connection.sender.maximumPacketSize, reference);
}

/** @throws MqttError 0x85 for an id that is refused */
function settleClientId({ node: { counters, limits } }: Connection, packet: ConnectPacket): string {
  const { cleanStart, clientId, version } = packet;
  const { maximumClientIdBytes: maximumBytes } = limits;
  if (Buffer.byteLength(clientId) > maximumBytes) {
    counters.limited.maxClientIdBytes++;
    throw new MqttError(Reason.clientIdentifierNotValid, `client id of more than ${maximumBytes} bytes`); // [MQTT5 3.1.3-8] [MQTT311 3.1.3-9]
  }
  if (clientId !== '') return clientId;
  if (version === 3 || (version === 4 && !cleanStart)) {
    throw new MqttError(Reason.clientIdentifierNotValid, 'empty client id without clean session'); // [MQTT311 3.1.3-8]
  }
  return `auto-${randomUUID()}`; // [MQTT5 3.1.3-6] [MQTT311 3.1.3-6]
}

/** 0 means never, and is above every limit. MQTT 3.x cannot hear of another value than its own. [MQTT5 3.2.2-21] [MQTT5 3.2.2-22] */
function enforcedKeepAlive({ keepAliveSeconds: requested, version }: ConnectPacket, maximum: number): number {
  if (maximum === 0 || version !== 5) return requested;
  return requested === 0 || requested > maximum ? maximum : requested;
}

interface Settled {
  readonly clientId: string;
  readonly keepAliveSeconds: number;
  readonly sessionPresent: boolean;
}

function connackOf(
  connection: Connection,
  packet: ConnectPacket,
  { clientId, keepAliveSeconds, sessionPresent }: Settled,
): ConnackOptions {
  const { bus, capabilities, limits, ownInbox } = connection.node;
  const expiry = grantedExpiry(connection, packet);
  // [MQTT5 3.1.2-28]
  const response = packet.requestResponseInformation
    ? responseInformationFor(clientId, capabilities, ownInbox)
    : undefined;
  return {
    sessionPresent,
    ...announced(capabilities),
    ...(capabilities.maximumQos === 0 ? {} : { receiveMaximum: limits.receiveMaximum }),
    maximumPacketSize: Math.min(limits.maximumPacketSize, bus.maximumPacketSize()),
    topicAliasMaximum: limits.topicAliasMaximum,
    ...(packet.sessionExpirySeconds === expiry ? {} : { sessionExpirySeconds: expiry }),
    ...(packet.clientId === '' ? { assignedClientId: clientId } : {}), // [MQTT5 3.1.3-7]
    ...connection.authentication?.connackProperties, // [MQTT5 4.12.0-5]
    ...(keepAliveSeconds === packet.keepAliveSeconds ? {} : { serverKeepAliveSeconds: keepAliveSeconds }),
    ...(response === undefined ? {} : { responseInformation: response }),
  };
}
