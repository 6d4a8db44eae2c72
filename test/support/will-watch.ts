/**
 * For tests of wills: clients that have one, and a NATS application that sees every will as it is published, on whatever node, once per
 * publication: stored ones by their live copy, those of QoS 0 on their own subject.
 */
import { connect, type NatsConnection } from 'nats';
import { type ConnectFields, RawClient } from './raw-client.ts';

/** A will that was published. */
export interface SeenWill {
  readonly topic: string;
  readonly payload: string;
  /** `performance.now()` of this process. */
  readonly at: number;
}

const LIVE_PREFIX = '$SMQ.live.';

export class WillWatch {
  readonly seen: SeenWill[] = [];
  /** Called with each. */
  saw: (will: SeenWill) => void = () => {};
  readonly #connection: NatsConnection;

  private constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /** Sees all below the first level `level`. */
  static async start(url: string, level: string): Promise<WillWatch> {
    const connection = await connect({ servers: url });
    const watch = new WillWatch(connection);
    const take = (subject: string, data: Uint8Array): void => {
      const will = {
        topic: subject.replaceAll('.', '/'),
        payload: Buffer.from(data).toString(),
        at: performance.now(),
      };
      watch.seen.push(will);
      watch.saw(will);
    };
    connection.subscribe(`${LIVE_PREFIX}${level}.>`, {
      callback: (_, { data, subject }) => take(subject.slice(LIVE_PREFIX.length), data),
    });
    connection.subscribe(`${level}.>`, {
      callback: (_, { data, headers, subject }) => {
        if (headers?.has('Mqtt-Stored') !== true) take(subject, data);
      },
    });
    await connection.flush();
    return watch;
  }

  /** How often each topic was seen: `{ '1': 1000 }` when 1,000 were seen once each. */
  counts(): Record<number, number> {
    const perTopic = new Map<string, number>();
    for (const { topic } of this.seen) perTopic.set(topic, (perTopic.get(topic) ?? 0) + 1);
    const counts: Record<number, number> = {};
    for (const count of perTopic.values()) counts[count] = (counts[count] ?? 0) + 1;
    return counts;
  }

  topics(): string[] {
    return this.seen.map(({ topic }) => topic).sort();
  }

  stop(): Promise<void> {
    return this.#connection.close();
  }
}

export interface WillFields extends ConnectFields {
  readonly topic: string;
  readonly qos?: 0 | 1 | 2;
  /** Will Delay Interval; MQTT 5. */
  readonly delaySeconds?: number;
  /** Session Expiry Interval; MQTT 5. */
  readonly expirySeconds?: number;
}

/** A client with a will whose payload is `gone`. MQTT 5 unless said otherwise. */
export async function connectWithWill(
  port: number,
  { delaySeconds = 0, expirySeconds = 0, qos = 1, topic, version = 5, ...fields }: WillFields,
): Promise<Awaited<ReturnType<typeof RawClient.connect>>> {
  const properties = version === 5 ? { properties: { willDelayInterval: delaySeconds } } : {};
  return RawClient.connect(port, {
    version,
    ...(version === 5 ? { properties: { sessionExpiryInterval: expirySeconds } } : {}),
    will: { topic, payload: Buffer.from('gone'), qos, retain: false, ...properties },
    ...fields,
  });
}

/** `count` clients with a will each, on `<level>/<number>`, some at a time; QoS as `qosOf` says. */
export async function connectManyWithWill(
  port: number,
  { count, level, qosOf }: { count: number; level: string; qosOf: (number: number) => 0 | 1 | 2 },
): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const number = next++;
      const clientId = `${level}-${number}`;
      const topic = `${level}/${number}`;
      clients.push(await connectWithWill(port, { clientId, topic, qos: qosOf(number), keepalive: 0 }));
    }
  };
  await Promise.all(Array.from({ length: 50 }, worker));
  return clients;
}
