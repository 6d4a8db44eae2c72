/** Waves of clients at one edge on a real nats-server: all of them connect, live and end, until nothing is left; then the next ones. */
import { InspectedHeap } from '../support/inspected-heap.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { freePort } from '../support/ports.ts';
import { type Ending, live } from './wave-clients.ts';
import { emptied, floorOf, forgotten, type Gauges, gaugesOf, type Place, type WaveFloor } from './wave-figures.ts';

/** Clients that connect, or end, at the same time. */
const PENDING = 50;

export interface Wave {
  readonly number: number;
  readonly seconds: number;
  /** When all clients were there. */
  readonly crest: Gauges;
  readonly floor: WaveFloor;
}

export interface WavesOptions {
  readonly connections: number;
  /** Whether one more shall come after so many. */
  readonly goesOn: (waves: number) => boolean;
  /** Whether to wait until nothing is stored of any client: that takes one or two minutes. */
  readonly waitsForStores: boolean;
  /** Called after each wave. */
  readonly ebbed: (wave: Wave) => void;
}

/** Resolves with all waves, rejects when one leaves something behind or is refused something. */
export async function runWaves({ connections, ebbed, goesOn, waitsForStores }: WavesOptions): Promise<Wave[]> {
  const waves: Wave[] = [];
  const place = await openPlace();
  try {
    while (goesOn(waves.length)) {
      const wave = await runWave(place, waves.length + 1, connections);
      waves.push(wave);
      ebbed(wave);
    }
    if (waitsForStores) await forgotten(place);
  } finally {
    place.heap.close();
    await place.edge.stop();
    await place.nats.stop();
  }
  return waves;
}

async function openPlace(): Promise<Place> {
  const nats = await startNatsServer();
  const port = await freePort();
  const edge = await EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: nats.url,
    // On a machine that others use too, lateness says nothing about the edge.
    SUPERMQ_LIMITS_MAX_EVENT_LOOP_DELAY_MS: '0',
    NODE_OPTIONS: `--inspect=127.0.0.1:${port}`,
  });
  return { nats, edge, heap: await InspectedHeap.attach(port) };
}

async function runWave(place: Place, number: number, connections: number): Promise<Wave> {
  const began = performance.now();
  const { edge } = place;
  const endings: Ending[] = [];
  await forAll(connections, async (index) => {
    endings.push(await live({ port: edge.tcp, wave: number, index }));
  });
  const crest = await gaugesOf(edge);
  await forAll(connections, async (index) => endings[index]?.());
  await emptied(place);
  const defects = await edge.metric('supermq_internal_errors_total');
  if (defects > 0) throw new Error(`${defects} internal errors: ${edge.output}`);
  return { number, crest, floor: await floorOf(place), seconds: (performance.now() - began) / 1_000 };
}

/** Calls `task` for 0 … count - 1, some at a time. */
async function forAll(count: number, task: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await task(next++);
  };
  await Promise.all(Array.from({ length: PENDING }, worker));
}
