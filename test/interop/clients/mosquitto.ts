/** mosquitto_sub and mosquitto_pub (libmosquitto): one process per subscription and per message. */
import { type Client, type ConnectOptions, Inbox, type Library, type Message, type Properties } from './client.ts';
import { isInstalled, Tool } from './tool.ts';

const VERSIONS = { '3.1': 'mqttv31', '3.1.1': 'mqttv311', '5': 'mqttv5' } as const;

export const mosquitto: Library = {
  name: 'mosquitto clients',
  missing: ['mosquitto_pub', 'mosquitto_sub', 'stdbuf'].every(isInstalled)
    ? undefined
    : 'mosquitto_pub and mosquitto_sub are not installed (Debian package mosquitto-clients)',
  versions: ['3.1', '3.1.1', '5'],
  transports: ['tcp'],
  features: ['session', 'unsubscribe', 'properties', 'order', 'leaves with will'],
  connects: 'on subscribe',
  connect: async (options) => new MosquittoClient(options),
};

class MosquittoClient implements Client {
  readonly inbox = new Inbox();
  readonly #options: ConnectOptions;
  readonly #filters: string[] = [];
  #subscriber: Tool | undefined;

  constructor(options: ConnectOptions) {
    this.#options = options;
  }

  async subscribe(filter: string, qos: number): Promise<void> {
    // One process has all filters of the client.
    await this.#subscriber?.signal('SIGTERM');
    this.#filters.push(filter);
    this.#subscriber = this.#start(qos, []);
    const [, granted] = await this.#subscriber.waitFor(/^Subscribed \(mid: \d+\): ([\d, ]+)$/m);
    if (granted?.split(', ')[0] !== String(qos)) throw new Error(`granted ${granted}, not ${qos}`);
  }

  async refusal(filter: string): Promise<number> {
    const tool = new Tool('stdbuf', ['-oL', 'mosquitto_sub', ...this.#common(), '-q', '1', '-d', '-t', filter]);
    const [, code] = await tool.waitFor(/^Subscribed \(mid: \d+\): (\d+)$/m);
    await tool.signal('SIGKILL');
    return Number(code);
  }

  /** mosquitto_sub unsubscribes when it connects: it comes back to its session. */
  async unsubscribe(filter: string): Promise<void> {
    await this.end();
    this.#filters.splice(this.#filters.indexOf(filter), 1);
    this.#subscriber = this.#start(1, ['-U', filter]);
    await this.#subscriber.waitFor(/received UNSUBACK/);
  }

  async publish({ topic, payload, qos = 0, retain = false, properties }: Message): Promise<void> {
    const args = [...this.#common('pub'), '-t', topic, '-q', String(qos), ...(retain ? ['-r'] : [])];
    if (properties !== undefined && this.#options.version === '5') args.push(...propertyArguments(properties));
    await new Tool('mosquitto_pub', [...args, payload === '' ? '-n' : '-s']).finish(payload);
  }

  async end(): Promise<void> {
    await this.#subscriber?.signal('SIGTERM'); // it sends DISCONNECT
  }

  async kill(): Promise<void> {
    await this.#subscriber?.signal('SIGKILL');
  }

  #common(suffix = ''): string[] {
    const { port, version, clientId } = this.#options;
    return ['-h', '127.0.0.1', '-p', String(port), '-V', VERSIONS[version], '-i', clientId + suffix];
  }

  #start(qos: number, more: readonly string[]): Tool {
    const { clean = true, will } = this.#options;
    const args = [...this.#common(), '-q', String(qos), '-d', '-F', '%j\t%P', ...more, ...(clean ? [] : ['-c'])];
    for (const filter of this.#filters) args.push('-t', filter);
    if (will !== undefined) {
      args.push('--will-topic', will.topic, '--will-payload', will.payload, '--will-qos', String(will.qos ?? 0));
      if (will.retain === true) args.push('--will-retain');
    }
    // Its standard output would wait in a buffer of the C library.
    return new Tool('stdbuf', ['-oL', 'mosquitto_sub', ...args], (line) => {
      if (line.startsWith('{"tst"')) this.inbox.add(messageOf(line));
    });
  }
}

function propertyArguments({ contentType, correlationData, messageExpiry, responseTopic, user }: Properties): string[] {
  const named = [
    ['content-type', contentType],
    ['correlation-data', correlationData],
    ['message-expiry-interval', messageExpiry],
    ['response-topic', responseTopic],
  ] as const;
  return [
    ...named.flatMap(([name, value]) => (value === undefined ? [] : ['-D', 'publish', name, String(value)])),
    ...(user ?? []).flatMap(([name, value]) => ['-D', 'publish', 'user-property', name, value]),
  ];
}

/** A line of `%j`, and of `%P`, which unlike `%j` can be read where a name is repeated. */
function messageOf(line: string): Message {
  const [json = '', user = ''] = line.split('\t');
  const { topic, payload, qos, retain, properties } = JSON.parse(json);
  const message = { topic, payload: payload ?? '', qos, retain: retain === 1 };
  if (properties === undefined) return message;
  const pairs = user
    .split(' ')
    .filter((pair) => pair !== '')
    .map((pair) => pair.split(':') as [string, string]);
  return {
    ...message,
    properties: {
      contentType: properties['content-type'],
      correlationData: properties['correlation-data'],
      messageExpiry: properties['message-expiry-interval'],
      responseTopic: properties['response-topic'],
      user: pairs,
    },
  };
}
