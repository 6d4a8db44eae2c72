/** Topic aliases that a client sets on its way to us; they live and die with the connection. [MQTT5 3.3.2-7] */
import { MqttError, protocolError, Reason } from './reason.ts';

/** `T` is whatever the connection keeps per topic. */
export class InboundAliases<T> {
  readonly #maximum: number;
  readonly #topics = new Map<number, T>();

  /** `maximum` as announced in CONNACK; 0 = aliases are not accepted. */
  constructor(maximum: number) {
    this.#maximum = maximum;
  }

  /**
   * Maps `alias` to a topic, anew if it was mapped before. [MQTT5 3.3.2-12]
   * @throws MqttError 0x94 above the announced maximum
   */
  set(alias: number, topic: T): void {
    this.#check(alias);
    this.#topics.set(alias, topic);
  }

  /**
   * The topic of an alias that came without one.
   * @throws MqttError 0x94 above the announced maximum, 0x82 for an alias that was never set
   */
  get(alias: number): T {
    this.#check(alias);
    const topic = this.#topics.get(alias);
    if (topic === undefined) throw protocolError(`topic alias ${alias} was never set`);
    return topic;
  }

  #check(alias: number): void {
    if (alias <= this.#maximum) return;
    throw new MqttError(Reason.topicAliasInvalid, `topic alias ${alias}, at most ${this.#maximum} are accepted`); // [MQTT5 3.2.2-17]
  }
}
