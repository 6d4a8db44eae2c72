/**
 * Messages of QoS 1 and 2 that a client publishes: into the log, and answered in the client's order once they are stored, never
 * before. A client that publishes faster than the log stores is not read meanwhile.
 */
import type { LogOutcome, LogPublish, Route } from '../broker/ports.ts';
import type { Extras } from '../message.ts';
import { encodeAcknowledgement } from '../mqtt/acknowledgement.ts';
import { PacketType } from '../mqtt/packet.ts';
import { MqttError, Reason, type ReasonCode, reasonText } from '../mqtt/reason.ts';
import { findMessage } from '../session/find-message.ts';
import type { InboundPacket } from '../session/inbound.ts';
import type { Connection } from './connection.ts';
import { PauseReason } from './pause-reason.ts';

/** Why a message is not stored: no client may publish there, this one may not, or it is not the UTF-8 that it says it is. */
export type Refusal = 'forbidden' | 'denied' | 'payloadInvalid';

/** A PUBLISH of QoS 1 or 2; payload and properties are copies. */
export interface IncomingPublish {
  readonly packetId: number;
  readonly qos: 1 | 2;
  /** Or why there is none. */
  readonly route: Route | Refusal;
  readonly payload: Buffer;
  readonly extras: Extras;
  readonly expirySeconds: number | undefined;
}

/** Bytes that may wait for the log before the client is not read; for all clients together see intake-budget.ts. */
const HELD_BYTES = 1024 * 1024;
/** Memory that a waiting message takes beside payload and properties. */
const MESSAGE_OVERHEAD_BYTES = 512;

/** What the client is told: the log's answer, or one that needs none of it. */
type Answer = LogOutcome | Refusal | 'idInUse';

/** Reason Strings. */
const texts: Readonly<Record<Answer, string | undefined>> = {
  stored: undefined,
  forbidden: 'not authorized: topic is reserved',
  denied: 'not authorized',
  payloadInvalid: reasonText(Reason.payloadFormatInvalid),
  idInUse: reasonText(Reason.packetIdentifierInUse),
  full: 'quota: the log of messages is full',
  tooLarge: 'quota: the message is too large for the log',
  refused: 'the log of messages refuses it',
};

/** A place in the client's order. */
interface Place {
  readonly packetId: number;
  readonly qos: 1 | 2;
  readonly heldBytes: number;
  answer: Answer | undefined;
}

/** One message on its way into the log; its object is all that is allocated for the answer. */
class Incoming implements LogPublish, Place {
  readonly packetId: number;
  readonly qos: 1 | 2;
  readonly route: Route;
  readonly payload: Buffer;
  readonly extras: Extras;
  readonly expirySeconds: number | undefined;
  readonly messageId: string;
  answer: Answer | undefined = undefined;
  readonly #intake: Intake;

  constructor(intake: Intake, publish: IncomingPublish, route: Route, messageId: string) {
    this.#intake = intake;
    this.packetId = publish.packetId;
    this.qos = publish.qos;
    this.route = route;
    this.payload = publish.payload;
    this.extras = publish.extras;
    this.expirySeconds = publish.expirySeconds;
    this.messageId = messageId;
  }

  get heldBytes(): number {
    return this.payload.length;
  }

  /** In the budget of the node. */
  get budgetBytes(): number {
    return this.payload.length + this.extras.properties.length + MESSAGE_OVERHEAD_BYTES;
  }

  settled(outcome: LogOutcome, sequence: number): void {
    this.#intake.settled(this, outcome, sequence);
  }
}

export class Intake {
  readonly #connection: Connection;
  readonly #isVersion5: boolean;
  readonly #maximum: number;
  /** Not answered yet, in the client's order; those before `#answered` are. */
  #waiting: Place[] = [];
  #answered = 0;
  /** Of those not answered, messages of QoS 1; those of QoS 2 are in the session. */
  #waitingOnce = 0;
  #heldBytes = 0;
  /** Of this client in the node's budget. */
  #budgetBytes = 0;
  #isPaused = false;
  /** Packets of an earlier node, looked for one after the other. */
  #recovering: Promise<void> | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#isVersion5 = connection.client?.version === 5;
    this.#maximum = connection.node.limits.receiveMaximum;
  }

  /** @throws MqttError 0x93 when the client has more under way than Receive Maximum allows */
  take(publish: IncomingPublish): void {
    const { packetId, qos, route } = publish;
    const { node } = this.#connection;
    node.counters.messagesReceived++;
    if (qos === 2) return this.#takeOnce(publish);
    if (this.#connection.sessionIfMade?.inbound.get(packetId) !== undefined)
      return this.#answerAtOnce(packetId, qos, 'idInUse');
    if (typeof route === 'string') return this.#answerAtOnce(packetId, qos, route);
    this.#store(this.#enqueue(publish, route, ''));
  }

  /** QoS 2: the same packet id is the same message until it is released. [MQTT5 4.3.3-10] [MQTT311 4.3.3-2] */
  #takeOnce(publish: IncomingPublish): void {
    const { packetId, route } = publish;
    const { session } = this.#connection;
    const known = session.inbound.get(packetId);
    if (known?.state === 'storing') return; // answered when it is stored
    if (known?.state === 'stored') return this.#answerAtOnce(packetId, 2, 'stored');
    if (typeof route === 'string') {
      session.inbound.release(packetId);
      return this.#answerAtOnce(packetId, 2, route);
    }
    if (known !== undefined) return this.#recover(known, publish, route);
    const { feeds, log } = sessionsOf(this.#connection);
    const packet = session.inbound.begin(packetId, feeds.position, log.now());
    const incoming = this.#enqueue(publish, route, packet.messageId);
    // The map from packet id to message id is durable before the message is.
    session.save(() => this.#storeInOrder(incoming));
  }

  /** An earlier node had the packet: it may have stored it, and the log may have forgotten the message id since. */
  #recover(known: InboundPacket, publish: IncomingPublish, route: Route): void {
    this.#connection.session.inbound.comesAgain(known);
    const incoming = this.#enqueue(publish, route, known.messageId);
    const recover = async (): Promise<void> => {
      const sequence = await findMessage(sessionsOf(this.#connection).log, route.name, known);
      if (sequence === 0) this.#store(incoming);
      else this.settled(incoming, 'stored', sequence);
    };
    const previous = this.#recovering ?? Promise.resolve();
    // Not answered: the client is closed and tries again.
    const recovering = previous.then(recover).catch(() => this.#connection.close(Reason.serverBusy));
    this.#recovering = recovering;
    void recovering.then(() => {
      if (this.#recovering === recovering) this.#recovering = undefined;
    });
  }

  /** Not before those that an earlier node had and that are still being looked for. */
  #storeInOrder(incoming: Incoming): void {
    if (this.#recovering === undefined) this.#store(incoming);
    else void this.#recovering.then(() => this.#store(incoming));
  }

  #enqueue(publish: IncomingPublish, route: Route, messageId: string): Incoming {
    const incoming = new Incoming(this, publish, route, messageId);
    const count = this.#waiting.length - this.#answered + 1;
    if (publish.qos === 1) this.#waitingOnce++;
    const underWay = this.#waitingOnce + (this.#connection.sessionIfMade?.inbound.underWay ?? 0);
    if (this.#isVersion5 && underWay > this.#maximum)
      throw new MqttError(Reason.receiveMaximumExceeded, `more than ${this.#maximum} messages without acknowledgement`); // [MQTT5 §3.2.2.3.3]
    this.#waiting.push(incoming);
    this.#heldBytes += incoming.payload.length;
    this.#budgetBytes += incoming.budgetBytes;
    this.#connection.node.intakeBudget.take(incoming.budgetBytes, this.#connection);
    if (count >= this.#maximum || this.#heldBytes > HELD_BYTES) this.#pause();
    return incoming;
  }

  /** In its turn: behind what the log has not answered yet. */
  #answerAtOnce(packetId: number, qos: 1 | 2, answer: Answer): void {
    const { dropped } = this.#connection.node.counters;
    if (answer === 'forbidden') dropped.forbiddenTopic++;
    else if (answer === 'denied') dropped.notAuthorized++;
    else if (answer === 'payloadInvalid') dropped.payloadInvalid++;
    this.#waiting.push({ packetId, qos, answer, heldBytes: 0 });
    if (this.#waiting.length - this.#answered >= this.#maximum) this.#pause();
    this.#answerSettled();
  }

  #store(incoming: Incoming): void {
    const sessions = sessionsOf(this.#connection);
    // Of a paused node that wakes: the client is elsewhere, and has sent it there again.
    if (!sessions.mayServe(this.#connection.node.clock.now())) return this.#connection.close(Reason.serverBusy);
    sessions.log.publish(incoming);
  }

  /** The log has answered; the client hears of it when everything before it is answered. */
  settled(incoming: Incoming, outcome: LogOutcome, sequence: number): void {
    const { counters, publisher } = this.#connection.node;
    if (outcome !== 'stored') {
      counters.logRefused++;
      return this.#answer(incoming, outcome);
    }
    counters.logStored++;
    if (!incoming.extras.retain) {
      publisher.stored(incoming, sequence, nothing);
      return this.#answer(incoming, outcome);
    }
    publisher.stored(incoming, sequence, (retained) => this.#answer(incoming, retained));
  }

  #answer(incoming: Incoming, outcome: LogOutcome): void {
    incoming.answer = outcome;
    this.#answerSettled();
  }

  #answerSettled(): void {
    for (;;) {
      const next = this.#waiting[this.#answered];
      if (next?.answer === undefined) break;
      this.#answered++;
      this.#heldBytes -= next.heldBytes;
      if (next instanceof Incoming) this.#answeredOne(next);
      this.#finish(next, next.answer);
    }
    if (this.#answered > 64 || this.#answered === this.#waiting.length) {
      this.#waiting.splice(0, this.#answered);
      this.#answered = 0;
    }
    if (
      this.#isPaused &&
      this.#waiting.length - this.#answered <= this.#maximum / 2 &&
      this.#heldBytes <= HELD_BYTES / 2
    )
      this.#resume();
  }

  #answeredOne({ budgetBytes, qos }: Incoming): void {
    if (qos === 1) this.#waitingOnce--;
    if (this.#connection.isClosed) return; // freed by then
    this.#budgetBytes -= budgetBytes;
    this.#connection.node.intakeBudget.free(budgetBytes);
  }

  /** The connection is closed: what waits is nobody's any more, and may never be answered. */
  closed(): void {
    const { intakeBudget } = this.#connection.node;
    intakeBudget.forget(this.#connection);
    intakeBudget.free(this.#budgetBytes);
    this.#budgetBytes = 0;
  }

  #finish({ packetId, qos }: Place, answer: Answer): void {
    if (this.#connection.isClosed) return;
    if (qos === 2) this.#settleInbound(packetId, answer);
    const reason = this.#reasonOf(answer);
    // MQTT 3.x has no word for it but silence, and silence would hold up everything behind it. [MQTT311 4.8.0-2]
    if (!this.#isVersion5 && reason !== Reason.success)
      return this.#connection.fail(new MqttError(reason, `a message was refused: ${answer}`));
    const version = this.#connection.client?.version ?? 4;
    const type = qos === 1 ? PacketType.puback : PacketType.pubrec;
    // [MQTT5 4.3.2-4] [MQTT5 4.3.3-8] [MQTT311 4.3.2-2] [MQTT311 4.3.3-2]
    this.#connection.send(encodeAcknowledgement(type, packetId, version, reason), texts[answer]);
  }

  #settleInbound(packetId: number, answer: Answer): void {
    const { inbound } = this.#connection.session;
    const packet = inbound.get(packetId);
    if (packet === undefined) return;
    if (answer === 'stored') packet.state = 'stored';
    else inbound.release(packetId); // [MQTT5 4.3.3-9]
  }

  #reasonOf(answer: Answer): ReasonCode {
    switch (answer) {
      case 'stored':
        return Reason.success;
      case 'denied':
      case 'forbidden': // 3.x gets the answer that it would have got [MQTT311 3.3.5-2]
        return this.#isVersion5 ? Reason.notAuthorized : Reason.success;
      case 'payloadInvalid':
        return Reason.payloadFormatInvalid;
      case 'idInUse':
        return Reason.packetIdentifierInUse;
      case 'refused':
        return Reason.implementationSpecificError;
      default:
        return Reason.quotaExceeded;
    }
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#connection.pauseReading(PauseReason.log);
  }

  #resume(): void {
    this.#isPaused = false;
    if (!this.#connection.isClosed) this.#connection.resumeReading(PauseReason.log);
  }
}

function nothing(): void {}

function sessionsOf({ node }: Connection): NonNullable<Connection['node']['sessions']> {
  if (node.sessions === undefined) throw new Error('QoS 1 and 2 need a log');
  return node.sessions;
}
