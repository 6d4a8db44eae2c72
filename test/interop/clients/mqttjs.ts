/** MQTT.js, the client most Node and browser users have; runs in the test's process. */
import { once } from 'node:events';
import {
  connect,
  ErrorWithSubackPacket,
  type IClientOptions,
  type IClientPublishOptions,
  type IPublishPacket,
  type MqttClient,
} from 'mqtt';
import { type Client, type ConnectOptions, Inbox, type Library, type Message, type Properties } from './client.ts';

const PROTOCOLS = {
  '3.1': { protocolVersion: 3, protocolId: 'MQIsdp' },
  '3.1.1': { protocolVersion: 4 },
  '5': { protocolVersion: 5 },
} as const;
const KEPT_SECONDS = 600;

export const mqttJs: Library = {
  name: 'MQTT.js',
  missing: undefined,
  versions: ['3.1', '3.1.1', '5'],
  transports: ['tcp', 'ws'],
  // It has user properties as an object: the order of different names is lost in the library.
  features: ['session', 'unsubscribe', 'properties'],
  connect: async (options) => {
    const { port, transport, version, clientId, clean = true, will } = options;
    const url = transport === 'tcp' ? `mqtt://127.0.0.1:${port}` : `ws://127.0.0.1:${port}/mqtt`;
    const client = connect(url, {
      ...PROTOCOLS[version],
      clientId,
      clean,
      reconnectPeriod: 0,
      ...(version === '5' && !clean ? { properties: { sessionExpiryInterval: KEPT_SECONDS } } : {}),
      ...(will === undefined ? {} : { will: willOf(will) }),
    });
    // Made before CONNACK: a resumed session sends at once.
    const made = new JsClient(client, options);
    await once(client as unknown as NodeJS.EventEmitter, 'connect');
    return made;
  },
};

function willOf({ topic, payload, qos = 0, retain = false }: Message): NonNullable<IClientOptions['will']> {
  return { topic, payload: Buffer.from(payload), qos: qos as 0 | 1 | 2, retain };
}

class JsClient implements Client {
  readonly inbox = new Inbox();
  readonly #client: MqttClient;
  readonly #options: ConnectOptions;

  constructor(client: MqttClient, options: ConnectOptions) {
    this.#client = client;
    this.#options = options;
    client.on('message', (_topic, _payload, packet) => this.inbox.add(messageOf(packet)));
    // Calls fail with it too.
    client.on('error', () => {});
  }

  async subscribe(filter: string, qos: number): Promise<void> {
    const [granted] = await this.#client.subscribeAsync(filter, { qos: qos as 0 | 1 | 2 });
    if (granted?.qos !== qos) throw new Error(`granted ${granted?.qos}, not ${qos}`);
  }

  async refusal(filter: string): Promise<number> {
    try {
      const [granted] = await this.#client.subscribeAsync(filter, { qos: 1 });
      return Number(granted?.qos);
    } catch (error) {
      if (error instanceof ErrorWithSubackPacket) return Number(error.packet.granted[0]);
      throw error;
    }
  }

  async unsubscribe(filter: string): Promise<void> {
    await this.#client.unsubscribeAsync(filter);
  }

  async publish({ topic, payload, qos = 0, retain = false, properties }: Message): Promise<void> {
    const options: IClientPublishOptions = { qos: qos as 0 | 1 | 2, retain };
    if (properties !== undefined && this.#options.version === '5') options.properties = packetProperties(properties);
    await this.#client.publishAsync(topic, payload, options);
  }

  async end(): Promise<void> {
    await this.#client.endAsync();
  }

  async kill(): Promise<void> {
    if (!this.#client.connected) return;
    const closed = new Promise((resolve) => this.#client.once('close', () => resolve(undefined)));
    this.#client.stream.destroy();
    await closed;
  }
}

function packetProperties({ contentType, correlationData, messageExpiry, responseTopic, user }: Properties) {
  const userProperties: Record<string, string[]> = {};
  for (const [name, value] of user ?? []) userProperties[name] = [...(userProperties[name] ?? []), value];
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(correlationData === undefined ? {} : { correlationData: Buffer.from(correlationData) }),
    ...(messageExpiry === undefined ? {} : { messageExpiryInterval: messageExpiry }),
    ...(responseTopic === undefined ? {} : { responseTopic }),
    ...(user === undefined ? {} : { userProperties }),
  };
}

function messageOf({ topic, payload, qos, retain, properties }: IPublishPacket): Message {
  const message = { topic, payload: payload.toString(), qos, retain };
  if (properties === undefined) return message;
  const { contentType, correlationData, messageExpiryInterval, responseTopic, userProperties } = properties;
  const user = Object.entries(userProperties ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => [name, value] as const),
  );
  return {
    ...message,
    properties: {
      ...(contentType === undefined ? {} : { contentType }),
      ...(correlationData === undefined ? {} : { correlationData: correlationData.toString() }),
      ...(messageExpiryInterval === undefined ? {} : { messageExpiry: messageExpiryInterval }),
      ...(responseTopic === undefined ? {} : { responseTopic }),
      ...(user.length === 0 ? {} : { user }),
    },
  };
}
