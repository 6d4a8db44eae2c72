/** Paho for Python through paho_driver.py. One process has many clients; one with a will has a process of its own, to be killed. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Client, type ConnectOptions, Inbox, type Library, type Message } from './client.ts';
import { Tool } from './tool.ts';

/** Debian's, which has Debian's packages; another one may be first in the path. */
const PYTHON = '/usr/bin/python3';
const driver = fileURLToPath(new URL('./paho_driver.py', import.meta.url));

export const pahoPython: Library = {
  name: 'Paho Python',
  missing:
    spawnSync(PYTHON, ['-c', 'import paho.mqtt.client']).status === 0
      ? undefined
      : 'Paho for Python is not installed (Debian package python3-paho-mqtt)',
  versions: ['3.1', '3.1.1', '5'],
  transports: ['tcp', 'ws'],
  features: ['session', 'unsubscribe', 'properties', 'order'],
  connect: async (options) => {
    shared ??= new Driver();
    const client = new PythonClient(options.will === undefined ? shared : new Driver(), options);
    await client.connect();
    return client;
  },
};

let shared: Driver | undefined;

/** Ends the process that the clients share. */
export async function endPython(): Promise<void> {
  await shared?.finish();
  shared = undefined;
}

interface Event {
  readonly call?: number;
  readonly value?: unknown;
  readonly error?: string;
  readonly client?: string;
}

class Driver {
  readonly inboxes = new Map<string, Inbox>();
  readonly #tool = new Tool(PYTHON, ['-u', driver], (line) => this.#take(JSON.parse(line)));
  readonly #calls = new Map<number, (event: Event) => void>();
  #last = 0;

  /** Resolves with the answer. */
  call(command: Record<string, unknown>): Promise<unknown> {
    const call = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, ({ error, value }) => (error === undefined ? resolve(value) : reject(new Error(error))));
      this.#tool.write(`${JSON.stringify({ ...command, call })}\n`);
    });
  }

  finish(): Promise<void> {
    return this.#tool.finish();
  }

  kill(): Promise<void> {
    return this.#tool.signal('SIGKILL');
  }

  #take(event: Event): void {
    if (event.call !== undefined) {
      this.#calls.get(event.call)?.(event);
      this.#calls.delete(event.call);
    } else this.inboxes.get(event.client ?? '')?.add(messageOf(event as unknown as PythonMessage));
  }
}

class PythonClient implements Client {
  readonly inbox = new Inbox();
  readonly #driver: Driver;
  readonly #options: ConnectOptions;
  readonly #name: string;
  #hasEnded = false;

  constructor(driver: Driver, options: ConnectOptions) {
    this.#driver = driver;
    this.#options = options;
    this.#name = `${options.clientId}/${driver.inboxes.size}`;
    driver.inboxes.set(this.#name, this.inbox);
  }

  async connect(): Promise<void> {
    const { clientId: id, port, transport, version, clean = true, will } = this.#options;
    await this.#call('connect', { id, port, transport, version, clean, will });
  }

  async subscribe(filter: string, qos: number): Promise<void> {
    const granted = await this.#call('subscribe', { filter, qos });
    if (String(granted) !== String(qos)) throw new Error(`granted ${granted}, not ${qos}`);
  }

  async refusal(filter: string): Promise<number> {
    return Number(await this.#call('subscribe', { filter, qos: 1 }));
  }

  async unsubscribe(filter: string): Promise<void> {
    await this.#call('unsubscribe', { filter });
  }

  async publish({ topic, payload, qos = 0, retain = false, properties = {} }: Message): Promise<void> {
    const { contentType, correlationData, messageExpiry, responseTopic, user } = properties;
    await this.#call('publish', {
      topic,
      payload,
      qos,
      retain,
      properties: {
        ContentType: contentType,
        CorrelationData: correlationData,
        MessageExpiryInterval: messageExpiry,
        ResponseTopic: responseTopic,
        UserProperty: user,
      },
    });
  }

  async end(): Promise<void> {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    await this.#call('end', {});
    if (this.#options.will !== undefined) await this.#driver.finish();
  }

  /** One without a will shares its process: it leaves, which nobody can tell apart. */
  async kill(): Promise<void> {
    if (this.#options.will === undefined) await this.end();
    else await this.#driver.kill();
  }

  #call(operation: string, details: object): Promise<unknown> {
    return this.#driver.call({ do: operation, client: this.#name, ...details });
  }
}

interface PythonMessage {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly properties: {
    readonly ContentType?: string;
    readonly CorrelationData?: string;
    readonly MessageExpiryInterval?: number;
    readonly ResponseTopic?: string;
    readonly UserProperty?: [string, string][];
  };
}

function messageOf({ topic, payload, qos, retain, properties }: PythonMessage): Message {
  const { ContentType, CorrelationData, MessageExpiryInterval, ResponseTopic, UserProperty } = properties;
  return {
    topic,
    payload,
    qos,
    retain,
    properties: {
      ...(ContentType === undefined ? {} : { contentType: ContentType }),
      ...(CorrelationData === undefined ? {} : { correlationData: CorrelationData }),
      ...(MessageExpiryInterval === undefined ? {} : { messageExpiry: MessageExpiryInterval }),
      ...(ResponseTopic === undefined ? {} : { responseTopic: ResponseTopic }),
      ...(UserProperty === undefined ? {} : { user: UserProperty }),
    },
  };
}
