/** One scenario with one library: makes its clients, and ends them behind it. */
import assert from 'node:assert/strict';
import type { Client, ConnectOptions, Library, Message, Transport, Version } from './clients/client.ts';
import { mqttJs } from './clients/mqttjs.ts';
import type { Entrance } from './places.ts';

export interface Combination {
  readonly library: Library;
  readonly version: Version;
  readonly transport: Transport;
}

type ClientOptions = Partial<Pick<ConnectOptions, 'clean' | 'clientId' | 'will'>>;

export class Trial {
  /** Above all topics of this scenario. */
  readonly root: string;
  readonly version: Version;
  readonly library: Library;
  readonly #combination: Combination;
  readonly #entrance: Entrance;
  readonly #clients: Client[] = [];
  #made = 0;

  constructor(combination: Combination, entrance: Entrance, id: number) {
    this.root = `interop/${id}`;
    this.version = combination.version;
    this.library = combination.library;
    this.#combination = combination;
    this.#entrance = entrance;
  }

  /** A client of the library that is tested. */
  client(options: ClientOptions = {}, combination = this.#combination): Promise<Client> {
    return this.#connect(combination, options);
  }

  /** MQTT.js with MQTT 5 over TCP, at the other end. */
  peer(): Promise<Client> {
    return this.#connect({ library: mqttJs, version: '5', transport: 'tcp' }, {});
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#clients.map((client) => client.kill()));
    await this.#entrance.close();
  }

  /** One that the scenario is done with; the others are ended hard. */
  async leave(client: Client): Promise<void> {
    await client.end();
    this.#clients.splice(this.#clients.indexOf(client), 1);
  }

  async #connect({ library, version, transport }: Combination, options: ClientOptions): Promise<Client> {
    const clientId = `${this.root.replace('/', '-')}-${this.#made++}`;
    const port = this.#entrance.ports[transport];
    const client = await library.connect({ clientId, port, version, transport, ...options });
    this.#clients.push(client);
    return client;
  }
}

/** What arrived is what was sent, as far as the library shows it. */
export function assertArrived(actual: Message, expected: Message): void {
  assert.equal(actual.topic, expected.topic);
  assert.ok(actual.payload === expected.payload, `payload ${actual.payload.slice(0, 100)} of ${actual.payload.length}`);
  if (actual.qos !== undefined) assert.equal(actual.qos, expected.qos ?? 0);
  if (actual.retain !== undefined) assert.equal(actual.retain, expected.retain ?? false);
}
