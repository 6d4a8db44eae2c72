/** Sessions without a network: over {@link FakeLog}, into an outlet that takes packets apart. */
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet';
import type { GroupLog, RetainedStore } from '../../src/broker/ports.ts';
import { type Clock, systemClock } from '../../src/clock.ts';
import { type Counters, makeCounters } from '../../src/counters.ts';
import { EmbeddedRetainedStore } from '../../src/embedded/retained-store.ts';
import { parseFilter } from '../../src/mqtt/topic.ts';
import { Feeds } from '../../src/session/feeds.ts';
import type { Outlet } from '../../src/session/outlet.ts';
import type { SessionRecord } from '../../src/session/record.ts';
import { Session } from '../../src/session/session.ts';
import { FakeLog } from './fake-log.ts';

/** What a client has got. */
export class FakeOutlet implements Outlet {
  readonly hasProperties = true;
  maximumPacketSize = Number.POSITIVE_INFINITY;
  origin = '';
  hasRoom = true;
  readonly packets: Packet[] = [];
  /** Called with each PUBLISH. */
  published: (packet: IPublishPacket) => void = () => {};
  readonly #parser = mqttPacket.parser({ protocolVersion: 5 });

  constructor() {
    this.#parser.on('packet', (packet) => {
      this.packets.push(packet);
      if (packet.cmd === 'publish') this.published(packet);
    });
  }

  get publishes(): IPublishPacket[] {
    return this.packets.filter((packet): packet is IPublishPacket => packet.cmd === 'publish');
  }

  get payloads(): string[] {
    return this.publishes.map(({ payload }) => payload.toString());
  }

  deliver(packet: Buffer): void {
    this.#parser.parse(packet);
  }

  deliverAcknowledged(packet: Buffer): void {
    this.#parser.parse(packet);
  }

  send(packet: Buffer): void {
    this.#parser.parse(packet);
  }
}

export interface Bench {
  readonly log: FakeLog;
  readonly feeds: Feeds;
  readonly counters: Counters;
  /** Runs the sweep of the feeds, as each second does. */
  sweep(): void;
}

export function makeBench(): Bench {
  const log = new FakeLog();
  const counters = makeCounters();
  const sweeps: Array<() => void> = [];
  const clock: Clock = {
    now: () => 0,
    wall: () => 0,
    after: () => () => {},
    every: (_milliseconds, task) => {
      sweeps.push(task);
      return () => {};
    },
  };
  const feeds = new Feeds(log, counters, clock, () => {});
  return { log, feeds, counters, sweep: () => sweeps.forEach((task) => void task()) };
}

export interface MadeSession {
  readonly session: Session;
  readonly outlet: FakeOutlet;
}

export interface SessionSettings {
  readonly window?: number;
  readonly record?: SessionRecord;
  readonly epoch?: number;
  readonly groups?: GroupLog;
  readonly retained?: RetainedStore;
  readonly mayServe?: () => boolean;
}

/** A session that has not started; `record`: what it resumes. */
export function makeSession(
  { counters, feeds, log }: Bench,
  { window = 256, record, epoch = 1, ...groups }: SessionSettings = {},
): MadeSession {
  const outlet = new FakeOutlet();
  const session = new Session({
    clientId: 'client',
    version: 5,
    uid: 'uid',
    epoch,
    user: '',
    owner: 'owner',
    logIdentity: log.identity,
    log,
    retained: new EmbeddedRetainedStore({ clock: systemClock }),
    retainedRead: () => {},
    feeds,
    counters,
    outlet,
    window,
    expirySeconds: 60,
    ...groups,
  });
  if (record !== undefined) session.restore(record);
  return { session, outlet };
}

/** As SUBSCRIBE does it: resolves when SUBACK would go out. */
export async function subscribe(
  { session }: MadeSession,
  { log }: Bench,
  filter: string,
  qos: 0 | 1 | 2,
): Promise<void> {
  const parsed = parseFilter(filter);
  if (parsed === undefined) throw new Error(`no filter: ${filter}`);
  session.subscribe(filter, parsed, {
    qos,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    identifier: 0,
  });
  if (!session.readsLog) return;
  await session.following();
  session.begin((await log.state()).last);
}

/** Everything that waits for nothing outside has happened. */
export async function settle(turns = 5): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}
