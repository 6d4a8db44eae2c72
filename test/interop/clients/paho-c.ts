/**
 * Paho C by its command-line tools: paho_c_* use its asynchronous interface (MQTTAsync), paho_cs_* the synchronous one (MQTTClient). They
 * always ask for a clean session and publish some of the properties only, so that these claim few features.
 */
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Client, type ConnectOptions, Inbox, type Library, type Message, type Properties } from './client.ts';
import { isInstalled, Tool } from './tool.ts';

const VERSIONS = { '3.1': '31', '3.1.1': '311', '5': '5' } as const;
const PROPERTIES: Record<string, keyof Properties> = {
  CONTENT_TYPE: 'contentType',
  CORRELATION_DATA: 'correlationData',
  MESSAGE_EXPIRY_INTERVAL: 'messageExpiry',
  RESPONSE_TOPIC: 'responseTopic',
};
const NOT_AUTHORIZED = 0x87;
/** What the tools say of a SUBACK that refuses, whole: the library has lines of its own with `Error` and a number. */
const REFUSAL =
  /Subscribe failed, rc Unknown error code (\d+)\n|Error (\d+) subscribing to topic|Subscribe failed, .* reason code Not authorized\n/;

function pahoC(name: string, prefix: 'paho_c' | 'paho_cs'): Library {
  return {
    name,
    missing: [`${prefix}_pub`, `${prefix}_sub`].every(isInstalled)
      ? undefined
      : `${prefix}_pub and ${prefix}_sub are not installed (Debian package paho.mqtt.c-examples)`,
    versions: ['3.1', '3.1.1', '5'],
    transports: ['tcp', 'ws'],
    features: [],
    connects: 'on subscribe',
    connect: async (options) => new PahoCClient(options, prefix),
  };
}

export const pahoCAsync = pahoC('Paho C (MQTTAsync)', 'paho_c');
export const pahoCSync = pahoC('Paho C (MQTTClient)', 'paho_cs');

class PahoCClient implements Client {
  readonly inbox = new Inbox();
  readonly #options: ConnectOptions;
  readonly #prefix: string;
  readonly #subscribers: Tool[] = [];
  #published = 0;

  constructor(options: ConnectOptions, prefix: string) {
    this.#options = options;
    this.#prefix = prefix;
  }

  async subscribe(filter: string, qos: number): Promise<void> {
    const subscriber = this.#start(filter, qos);
    this.#subscribers.push(subscriber);
    await subscriber.waitFor(/<- SUBACK/);
  }

  async refusal(filter: string): Promise<number> {
    const tool = this.#start(filter, 1);
    const [, asynchronous, synchronous] = await tool.waitFor(REFUSAL);
    await tool.signal('SIGKILL'); // it would stay
    return Number(asynchronous ?? synchronous ?? NOT_AUTHORIZED);
  }

  unsubscribe(): Promise<void> {
    throw new Error('the tools of Paho C do not unsubscribe');
  }

  async publish({ topic, payload, qos = 0, retain = false, properties = {} }: Message): Promise<void> {
    const args = [...this.#common(`-${this.#published++}`), '-t', topic, '-q', String(qos), ...(retain ? ['-r'] : [])];
    const { messageExpiry, user } = properties;
    if (this.#options.version === '5') {
      if (messageExpiry !== undefined) args.push('--message-expiry', String(messageExpiry));
      if (user?.[0] !== undefined) args.push('--user-property', ...user[0]);
    }
    if (payload === '') return new Tool(`${this.#prefix}_pub`, [...args, '-n']).finish();
    // From a file: an argument can be too long.
    const file = join(tmpdir(), `supermq-${process.pid}-${this.#options.clientId}-${this.#published}`);
    await writeFile(file, payload);
    try {
      await new Tool(`${this.#prefix}_pub`, [...args, '-f', file]).finish();
    } finally {
      await rm(file);
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.#subscribers.map((subscriber) => subscriber.signal('SIGTERM'))); // they send DISCONNECT
  }

  async kill(): Promise<void> {
    await Promise.all(this.#subscribers.map((subscriber) => subscriber.signal('SIGKILL')));
  }

  #common(suffix: string): string[] {
    const { port, transport, version, clientId } = this.#options;
    const server =
      transport === 'tcp' ? ['-h', '127.0.0.1', '-p', String(port)] : ['-c', `ws://127.0.0.1:${port}/mqtt`];
    return [...server, '-V', VERSIONS[version], '-i', clientId + suffix];
  }

  #start(filter: string, qos: number): Tool {
    const { will } = this.#options;
    const suffix = this.#subscribers.length === 0 ? '' : `-sub${this.#subscribers.length}`;
    const args = [...this.#common(suffix), '-t', filter, '-q', String(qos), '-v', '--trace', 'protocol'];
    if (will !== undefined) {
      args.push('--will-topic', will.topic, '--will-payload', will.payload, '--will-qos', String(will.qos ?? 0));
      if (will.retain === true) args.push('--will-retain');
    }
    return new Tool(`${this.#prefix}_sub`, args, reader(this.inbox));
  }
}

/** Reads `[length ]topic TAB payload` and the lines with the properties that follow it. */
function reader(inbox: Inbox): (line: string) => void {
  let message: { topic: string; payload: string; properties: { user: [string, string][] } };
  let isWaiting = false;
  const deliver = (): void => {
    if (isWaiting) inbox.add(message);
    isWaiting = false;
  };
  return (line) => {
    const user = /^Property name USER_PROPERTY key (\S+) value (.*)$/.exec(line);
    const other = /^Property name (\w+) value (?:len )?(.*)$/.exec(line);
    if (user !== null) message.properties.user.push([user[1] ?? '', user[2] ?? '']);
    else if (other !== null) {
      const [, name = '', value = ''] = other;
      const key = PROPERTIES[name];
      if (key !== undefined)
        Object.assign(message.properties, { [key]: key === 'messageExpiry' ? Number(value) : value });
    } else {
      const [, topic, payload] = /^(?:\d+ )?([^\t]+)\t(.*)$/.exec(line) ?? [];
      if (topic === undefined || payload === undefined) return;
      deliver();
      message = { topic, payload, properties: { user: [] } };
      isWaiting = true;
      // The lines of one message come in one chunk: the tool flushes behind them.
      queueMicrotask(deliver);
    }
  };
}
