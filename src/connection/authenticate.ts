/**
 * Enhanced authentication (MQTT 5 section 4.12): carries AUTH packets between a client and an exchange of the authenticator, before
 * CONNACK and again whenever the connected client asks for it. Made by dispatch.ts for a CONNECT with an authentication method. One
 * exchange at a time, in strict turns; what is said in it is never logged.
 */
import type { ConnectingClient, Exchange, Verdict } from '../auth/authenticator.ts';
import type { Identity } from '../auth/identity.ts';
import { encodeAuth } from '../mqtt/codec.ts';
import type { AuthPacket } from '../mqtt/packet.ts';
import { AuthReason, type AuthReasonCode, MqttError, protocolError, Reason } from '../mqtt/reason.ts';
import { renewAccess } from './access-review.ts';
import type { Connection } from './connection.ts';

/** More than any method needs; a client cannot keep one going for ever. */
const MAXIMUM_STEPS = 16;

/** What a successful CONNACK repeats and adds. */
interface ConnackProperties {
  readonly authenticationMethod: string;
  readonly authenticationData?: Buffer;
}

type Success = Extract<Verdict, { kind: 'success' }>;

export class Authentication {
  readonly #connection: Connection;
  readonly #method: string;
  readonly #client: ConnectingClient;
  /** Who the client has proved to be, the first time. */
  #identity: Identity | undefined;
  /** Under way. */
  #exchange: Exchange | undefined;
  #succeeded: (success: Success) => void = nothing;
  #isClientsTurn = false;
  #steps = 0;
  #finalData: Buffer | undefined;

  constructor(connection: Connection, method: string, client: ConnectingClient) {
    this.#connection = connection;
    this.#method = method;
    this.#client = client;
  }

  /** [MQTT5 4.12.0-5] */
  get connackProperties(): ConnackProperties {
    const method = { authenticationMethod: this.#method };
    return this.#finalData === undefined ? method : { ...method, authenticationData: this.#finalData };
  }

  /** CONNECT has named the method. @throws MqttError 0x8C when there is none of that name [MQTT5 4.12.0-1] */
  begin(data: Buffer | undefined, accept: (identity: Identity) => void): void {
    this.#start(data, ({ data: finalData, identity }) => {
      this.#identity = identity;
      this.#finalData = finalData;
      accept(identity);
    });
  }

  /** AUTH has come. */
  received({ authenticationData, authenticationMethod, reasonCode }: AuthPacket): void {
    if (authenticationMethod !== this.#method) throw protocolError('AUTH with another method than CONNECT'); // [MQTT5 4.12.0-5] [MQTT5 4.12.1-1]
    if (reasonCode === AuthReason.again) return this.#again(authenticationData);
    if (this.#exchange === undefined || !this.#isClientsTurn) throw protocolError('AUTH out of turn');
    this.#take(this.#exchange, authenticationData);
  }

  /** CONNECT is long ago: ends an exchange that is still under way. */
  timeOut(): void {
    if (this.#exchange !== undefined)
      this.#connection.fail(new MqttError(Reason.notAuthorized, 'authentication has taken too long'));
  }

  /** The connected client proves once more who it is; everything else goes on meanwhile. [MQTT5 4.12.1-1] */
  #again(data: Buffer | undefined): void {
    if (this.#connection.client === undefined) throw protocolError('re-authentication before CONNACK');
    if (this.#exchange !== undefined) throw protocolError('re-authentication during another one');
    this.#start(data, ({ data: finalData, identity }) => {
      // Its session, its subscriptions and its will are those of the first one.
      if (identity.username !== this.#identity?.username)
        throw new MqttError(Reason.notAuthorized, 're-authentication as somebody else');
      this.#connection.identity = identity;
      renewAccess(this.#connection);
      this.#send(AuthReason.success, finalData);
    });
  }

  #start(data: Buffer | undefined, succeeded: (success: Success) => void): void {
    const exchange = this.#connection.node.authenticator.begin(this.#method, this.#client);
    if (exchange === undefined) throw new MqttError(Reason.badAuthenticationMethod, 'unknown authentication method');
    this.#exchange = exchange;
    this.#succeeded = succeeded;
    this.#steps = 0;
    this.#take(exchange, data);
  }

  #take(exchange: Exchange, data: Buffer | undefined): void {
    this.#isClientsTurn = false;
    if (++this.#steps > MAXIMUM_STEPS)
      throw new MqttError(Reason.notAuthorized, 'authentication has taken too many steps');
    exchange
      .step(data)
      .then((verdict) => this.#answer(verdict))
      .catch((error: unknown) => this.#connection.fail(error));
  }

  #answer(verdict: Verdict): void {
    if (this.#connection.isClosed) return;
    switch (verdict.kind) {
      case 'continue':
        this.#isClientsTurn = true;
        return this.#send(AuthReason.continue, verdict.data); // [MQTT5 4.12.0-2]
      case 'success':
        return this.#succeed(verdict);
      case 'refused': // [MQTT5 4.12.0-4] [MQTT5 4.12.1-2]
        throw new MqttError(verdict.reason, verdict.text);
    }
  }

  /** What waits for it holds the CONNECT, and with it a password: it is let go of. */
  #succeed(success: Success): void {
    const succeeded = this.#succeeded;
    this.#exchange = undefined;
    this.#succeeded = nothing;
    succeeded(success);
  }

  /** [MQTT5 4.12.0-5] */
  #send(reasonCode: AuthReasonCode, data: Buffer | undefined): void {
    const packet = encodeAuth(reasonCode, this.#method, data);
    if (packet.length > this.#connection.sender.maximumPacketSize)
      throw new MqttError(Reason.packetTooLarge, 'AUTH above the Maximum Packet Size of the client'); // [MQTT5 3.1.2-24]
    this.#connection.send(packet);
  }
}

function nothing(): void {}
