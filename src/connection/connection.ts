/**
 * One network connection, from accept to close: its state, the read loop, and the only way it ends. What a packet means is
 * decided in receiver.ts (PUBLISH) and dispatch.ts (everything else); errors thrown there become a packet and a close here.
 */
import type { Logger } from 'pino';
import type { ClientAccess } from '../access/client-access.ts';
import { anonymous, type Identity } from '../auth/identity.ts';
import { ClientSubscriptions } from '../broker/client-subscriptions.ts';
import type { CancelTimer } from '../clock.ts';
import type { DenialCounters } from '../counters.ts';
import { Framer } from '../mqtt/framing.ts';
import { PacketType, type ProtocolVersion } from '../mqtt/packet.ts';
import { MqttError, protocolError, Reason, type ReasonCode } from '../mqtt/reason.ts';
import type { Session } from '../session/session.ts';
import type { Will } from '../session/will.ts';
import type { HeldWill } from '../session/wills.ts';
import type { Transport, TransportEvents } from '../transport/listener.ts';
import type { Authentication } from './authenticate.ts';
import { beginSession, carryOver } from './begin-session.ts';
import { noteBadEnd, noteFailure } from './breach.ts';
import { type Client, originOf } from './client.ts';
import { refuseConnect } from './connect.ts';
import type { NodeContext } from './context.ts';
import { dispatch } from './dispatch.ts';
import { giveBack, lastWords } from './ending.ts';
import { Intake } from './intake.ts';
import type { Publishing } from './intake-budget.ts';
import { endExpired, endSilent } from './overdue.ts';
import { PauseReason } from './pause-reason.ts';
import { PublishRate } from './publish-rate.ts';
import { pauseForRate } from './rate-pause.ts';
import { Receiver } from './receiver.ts';
import { Retaining } from './retaining.ts';
import { Sender } from './sender.ts';

/** Bytes that a client may send behind CONNECT before it has its CONNACK without being held back. */
const EARLY_BYTES = 16 * 1024;

/** What a client may still send behind our last packet, so that it gets to read that one; then it is cut off. */
const LATE_BYTES = 256 * 1024;

/** connecting: no CONNECT yet; accepting: it is being worked on; connected: CONNACK is out; closed: nothing is read or written any more. */
type State = 'connecting' | 'accepting' | 'connected' | 'closed';

export class Connection implements TransportEvents, Publishing {
  readonly node: NodeContext;
  readonly transport: Transport;
  readonly framer: Framer;
  readonly sender: Sender;
  /** Packet ids of SUBSCRIBE packets that are not answered yet. */
  pendingSubscribes: Set<number> | undefined;
  /** The version that CONNECT names, known before the rest of it was found to be sound. */
  requestedVersion: ProtocolVersion | undefined;
  client: Client | undefined;
  /** The name of its address where addresses are counted; empty: they are not, or this one is exempt. */
  readonly countedAs: string;
  /** Whose connections this one counts among; empty: nobody's. */
  countedUser = '';
  /** Who the client has proved to be. */
  identity: Identity = anonymous;
  /** What rules let the client do; undefined = everything. Set when the client id is known. */
  access: ClientAccess | undefined;
  /** What has to come before CONNACK: its credentials are being judged, or the cluster is asked for what it has of the client. */
  awaits: 'identity' | 'cluster' | undefined;
  /** Of a client that has named an authentication method in CONNECT. */
  authentication: Authentication | undefined;
  will: Will | undefined;
  /** The same in the store; absent where nothing is stored. */
  heldWill: HeldWill | undefined;
  /** Resolves when everything that the connection held is given back, its session written. */
  ended: Promise<void> = Promise.resolve();
  #session: Session | undefined;
  #intake: Intake | undefined;
  #retaining: Retaining | undefined;
  #origin = '';
  #subscriptions: ClientSubscriptions | undefined;
  #receiver: Receiver | undefined;
  #state: State = 'connecting';
  #lateBytes = 0;
  #lastPacketAt: number;
  #silenceLimit: number;
  /** Bits of PauseReason. */
  #pauses = 0;
  /** Of a client that may not publish as fast as it likes. */
  #rate: PublishRate | undefined;
  #cancelRatePause: CancelTimer | undefined;
  #log: Logger | undefined;

  constructor(transport: Transport, node: NodeContext) {
    this.node = node;
    this.transport = transport;
    this.framer = new Framer(node.limits.maximumConnectSize);
    this.sender = new Sender(transport, node.counters, node.writes, node.limits.maximumOutboundBytes);
    this.countedAs = node.admission.jail === undefined ? '' : node.admission.countedAs(transport.peer.address);
    this.#lastPacketAt = node.clock.now() - transport.openingMilliseconds;
    this.#silenceLimit = node.limits.connectTimeoutSeconds * 1000;
  }

  get state(): State {
    return this.#state;
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Undefined where nothing was ever subscribed. */
  get subscriptionsIfMade(): ClientSubscriptions | undefined {
    return this.#subscriptions;
  }

  /** Made when first used: many clients only publish. */
  get subscriptions(): ClientSubscriptions {
    this.#subscriptions ??= new ClientSubscriptions(this.node.subscriptions);
    return this.#subscriptions;
  }

  /** Whether messages of this client carry its origin. */
  get hasNoLocal(): boolean {
    return this.#subscriptions?.hasNoLocal === true;
  }

  /** The session, if there has been something to remember. */
  get sessionIfMade(): Session | undefined {
    return this.#session;
  }

  /** Made when first used, unless CONNECT has brought one: many clients never need it. */
  get session(): Session {
    return this.#session ?? this.#beginSession();
  }

  /** Made when first used. */
  get intake(): Intake {
    this.#intake ??= new Intake(this);
    return this.#intake;
  }

  /** Made when first used. */
  get retaining(): Retaining {
    this.#retaining ??= new Retaining(this);
    return this.#retaining;
  }

  /** Retained messages of QoS 0, if there have been any. */
  get retainingIfMade(): Retaining | undefined {
    return this.#retaining;
  }

  /** Resolves when what the client has retained at QoS 0 so far can be found. */
  async retained(): Promise<void> {
    await this.#retaining?.settled();
  }

  /** Whose client ids and sessions are; empty where they are anybody's. */
  get user(): string {
    return this.node.bindsClientIds ? this.identity.username : '';
  }

  /** Names the client on its messages without telling its id. */
  get origin(): string {
    if (this.#origin === '') this.#origin = originOf(this.client?.id ?? '');
    return this.#origin;
  }

  /** Made when first used: most connections never log. */
  get log(): Logger {
    if (this.#log === undefined) {
      const { address, listener, port } = this.transport.peer; // not all that a certificate says
      this.#log = this.node.log.child({ clientId: this.client?.id, peer: { address, port, listener } });
    }
    return this.#log;
  }

  /** A line at level debug, which costs nothing while that level is off. */
  debug(event: string, text: string, fields?: object): void {
    if (this.node.log.isLevelEnabled('debug')) this.log.debug({ event: `connection.${event}`, ...fields }, text);
  }

  /** Rules have denied something to the client; `topic` is a topic or a filter. */
  denied(action: keyof DenialCounters, topic: string): void {
    const { denials } = this.node;
    denials.count(action, this.client?.id);
    this.debug('denied', 'The rules deny it', { action, topic });
  }

  data(chunk: Buffer): void {
    if (this.#state === 'closed') return this.#ignore(chunk);
    const { clock, sessions } = this.node;
    const now = clock.now();
    // A node that was paused wakes with full sockets: nothing of them is its business any more.
    if (sessions !== undefined && !sessions.mayServe(now)) return this.close(Reason.serverBusy);
    this.node.counters.bytesReceived += chunk.length;
    if (this.#state === 'connecting' && !this.#mayBeConnect(chunk)) return;
    this.framer.append(chunk);
    this.#rate?.received(chunk.length, now);
    // What comes while CONNECT is worked on waits here, bounded: a client that sends much more is not read meanwhile.
    if (this.#waitsForConnack && this.framer.pendingBytes > EARLY_BYTES) this.transport.pause();
    this.#process();
  }

  #ignore(chunk: Buffer): void {
    this.#lateBytes += chunk.length;
    if (this.#lateBytes > LATE_BYTES) this.transport.destroy();
  }

  /** Nothing is kept of what cannot become a CONNECT: whoever sends it would hold a place, and memory, until the time for CONNECT is over. */
  #mayBeConnect(chunk: Buffer): boolean {
    if (this.framer.pendingBytes > 0 || (chunk[0] ?? 0) >> 4 === PacketType.connect) return true;
    this.fail(protocolError('the first packet must be CONNECT')); // [MQTT5 3.1.0-1] [MQTT311 3.1.0-1]
    return false;
  }

  drain(): void {
    this.sender.drained();
  }

  closed(cause: Error | undefined): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'connecting') noteBadEnd(this);
    this.debug('lost', 'The network connection ended without DISCONNECT', { err: cause });
    this.#finish(undefined, true);
  }

  /**
   * Whether packets are left where they are until CONNACK is out. Those of a client with an authentication method are not: it may
   * send next to nothing before, and that belongs to the exchange. [MQTT5 3.1.2-30]
   */
  get #waitsForConnack(): boolean {
    return this.#state === 'accepting' && this.authentication === undefined;
  }

  /** CONNECT has come and takes a while: nothing further is handled until {@link connected}. */
  beginAccepting(): void {
    this.#state = 'accepting';
    this.framer.maximumPacketSize = this.node.limits.maximumPacketSize;
  }

  /** What the cluster has of the client is asked for: that may take as long as CONNECT might. */
  awaitCluster(): void {
    this.awaits = 'cluster';
    this.#lastPacketAt = this.node.clock.now();
  }

  /** CONNACK is out: packets are handled from now on, those that came meanwhile included. [MQTT5 3.1.4-5] */
  connected(client: Client, keepAliveSeconds: number, session: Session | undefined): void {
    this.client = client;
    if (session !== undefined) this.#keepSession(session);
    this.#log = undefined;
    this.framer.maximumPacketSize = Math.min(this.framer.maximumPacketSize, this.node.bus.maximumPacketSize());
    this.#state = 'connected';
    this.#lastPacketAt = this.node.clock.now();
    const { limits } = this.node;
    if (limits.publishesPerSecond > 0 || limits.publishBytesPerSecond > 0)
      this.#rate = new PublishRate(limits, this.#lastPacketAt);
    this.#silenceLimit = keepAliveSeconds === 0 ? Number.POSITIVE_INFINITY : keepAliveSeconds * 1500; // [MQTT5 3.1.2-22] [MQTT311 3.1.2-24]
    this.node.connections.connected();
    if (this.hasNoLocal) this.sender.origin = this.origin; // of a resumed session
    session?.start(this.node.clock.now());
    if (this.framer.pendingBytes > EARLY_BYTES) this.transport.resume();
    // Also where nothing waits: the framer lets go of the chunk that CONNECT came in.
    this.#process();
  }

  /** Called by the sweep: closes a connection that is silent for too long. */
  checkSilence(now: number): void {
    // Who is not read cannot be heard.
    if (now - this.#lastPacketAt > this.#silenceLimit && this.#pauses === 0) endSilent(this);
  }

  /** Called by the sweep: closes a connection whose credentials have ended, unless the client has renewed them. */
  checkExpiry(wall: number): void {
    if (this.identity.expiresAt <= wall && this.#state === 'connected') endExpired(this);
  }

  pauseReading(reason: number): void {
    this.#pauses |= reason;
    this.transport.pause();
  }

  /** The time without reading does not count for the keep alive. */
  resumeReading(reason: number): void {
    this.#pauses &= ~reason;
    if (this.#pauses !== 0) return;
    this.#lastPacketAt = this.node.clock.now();
    if (this.#state === 'connected') this.transport.resume();
  }

  /** Reading goes on behind what has come already: that may be enough for another pause. */
  catchUp(reason: number): void {
    this.#pauses &= ~reason;
    this.#process();
    if ((this.#pauses & reason) === 0) this.resumeReading(reason);
  }

  /** All clients together have too much waiting for the log. */
  holdBack(): void {
    this.pauseReading(PauseReason.budget);
  }

  goOn(): void {
    this.resumeReading(PauseReason.budget);
  }

  /** An answer to the client, `text` says why it is a refusal; a client that lets its answers pile up is cut. */
  send(packet: Buffer, text?: string): void {
    if (this.#state === 'closed' || this.sender.send(packet, text)) return;
    this.debug('stalled', 'The client does not read its answers');
    this.drop();
  }

  /** Turns whatever was thrown while a packet was handled into a packet and a close. */
  fail(error: unknown): void {
    if (this.#state === 'closed') return;
    const refusal = noteFailure(this, error);
    this.#closeWith(refusal?.reason ?? Reason.unspecifiedError, refusal);
  }

  /** The client connected again, here or on another node: resolves when this connection holds nothing any more. [MQTT5 3.1.4-3] [MQTT311 3.1.4-2] */
  takenOver(): Promise<void> {
    if (this.#state !== 'closed') {
      this.node.counters.takeovers++;
      this.#closeWith(Reason.sessionTakenOver, undefined);
    }
    return this.ended;
  }

  /** Another node has taken the session without asking: this connection writes nothing of it any more. */
  fenced(): void {
    this.node.counters.sessionsFenced++;
    const session = this.#session;
    this.#session = undefined;
    if (session !== undefined) this.node.sessions?.abandon(session);
    this.close(Reason.sessionTakenOver);
  }

  /** Ends the connection for a reason of ours; the will is published. */
  close(reason: ReasonCode): void {
    if (this.#state !== 'closed') this.#closeWith(reason, undefined);
  }

  /** Ends the connection in words of ours, before CONNACK too; the will is published. */
  refuse(refusal: MqttError): void {
    if (this.#state !== 'closed') this.#closeWith(refusal.reason, refusal);
  }

  /** The client may not have any more what it has. `publishesWill`: false for a will that it may not have either. */
  revoke(publishesWill: boolean): void {
    if (this.#state === 'closed') return;
    const refusal = new MqttError(Reason.notAuthorized, 'not authorized any more: the rules have changed');
    this.#closeWith(refusal.reason, refusal, publishesWill);
  }

  /** Ends the connection without a word; the will is published. */
  drop(): void {
    this.#finish(undefined, true);
    this.transport.destroy();
  }

  /** DISCONNECT has a Session Expiry Interval of its own. MQTT5 section 3.14.2.2.2 */
  changeExpiry(seconds: number): void {
    if (this.#session !== undefined)
      this.#session.expirySeconds = Math.min(seconds, this.node.limits.maximumSessionExpirySeconds);
  }

  /** The client said goodbye. */
  disconnected(publishesWill: boolean): void {
    this.#finish(undefined, publishesWill);
    this.transport.end();
  }

  #process(): void {
    const { framer } = this;
    let hasPacket = false;
    try {
      while (this.#mayHandle && framer.next()) {
        hasPacket = true;
        if (framer.header >> 4 === PacketType.publish && this.#state === 'connected') this.#receive(framer);
        else dispatch(this, framer);
      }
    } catch (error) {
      this.fail(error);
    }
    if (hasPacket && this.#state === 'connected') this.#lastPacketAt = this.node.clock.now();
    if (this.#rate?.spent !== undefined) this.#slowDown(this.#rate);
  }

  get #mayHandle(): boolean {
    return this.#state !== 'closed' && !this.#waitsForConnack && (this.#pauses & PauseReason.rate) === 0;
  }

  #receive(framer: Framer): void {
    this.#receiver ??= new Receiver(this, this.node.limits.topicAliasMaximum);
    this.#receiver.publish(framer);
    if (this.#rate === undefined) return;
    this.#rate.published();
    if (this.#rate.spent !== undefined) this.#slowDown(this.#rate);
  }

  #slowDown(rate: PublishRate): void {
    if (this.#state !== 'connected' || (this.#pauses & PauseReason.rate) !== 0) return;
    this.#cancelRatePause = pauseForRate(this, rate);
  }

  #closeWith(reason: ReasonCode, error: MqttError | undefined, publishesWill = true): void {
    const isConnected = this.#state === 'connected';
    // Before a successful CONNACK there is no DISCONNECT, and never one for MQTT 3.x. [MQTT5 3.14.0-1]
    const hasDisconnect = isConnected && this.client?.version === 5;
    const lastPacket = hasDisconnect ? lastWords(this, reason, error) : undefined;
    if (!isConnected && error !== undefined) refuseConnect(this, error);
    this.#finish(lastPacket, publishesWill);
    this.transport.end();
  }

  /** The only end of a connection: nothing is read or written after it, and all that it held is given back. */
  #finish(lastPacket: Buffer | undefined, publishesWill: boolean): void {
    const wasConnected = this.#state === 'connected';
    this.#state = 'closed';
    this.sender.close(lastPacket);
    this.#subscriptions?.clear();
    this.#intake?.closed();
    this.#cancelRatePause?.();
    if (this.countedUser !== '') this.node.admission.users.left(this.countedUser);
    if (wasConnected) this.ended = giveBack(this, publishesWill);
    this.node.connections.remove(this, wasConnected);
  }

  #beginSession(): Session {
    const session = beginSession(this);
    this.#keepSession(session);
    carryOver(this.#subscriptions, session);
    return session;
  }

  #keepSession(session: Session): void {
    this.#session = session;
    this.sender.roomMade = () => session.pump();
  }
}
