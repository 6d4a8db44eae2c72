/** The matrix: every library × version × transport in one deployment, one test each; and all libraries with each other. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Library } from './clients/client.ts';
import { mosquitto } from './clients/mosquitto.ts';
import { mqttJs } from './clients/mqttjs.ts';
import { pahoCAsync, pahoCSync } from './clients/paho-c.ts';
import { endPython, pahoPython } from './clients/paho-python.ts';
import type { Place } from './places.ts';
import { type Scenario, scenarios } from './scenarios.ts';
import { type Combination, Trial } from './trial.ts';

export const libraries: readonly Library[] = [mqttJs, mosquitto, pahoCAsync, pahoCSync, pahoPython];

/** Most of the time is spent waiting for processes. */
const CONCURRENCY = 4;

function combinations(): Combination[] {
  return libraries.flatMap((library) =>
    library.transports.flatMap((transport) => library.versions.map((version) => ({ library, transport, version }))),
  );
}

function isFor({ library, version }: Combination): (scenario: Scenario) => boolean {
  return ({ needs = [], unless, versions }) =>
    !(unless !== undefined && library.features.includes(unless)) &&
    (versions?.includes(version) ?? true) &&
    needs.every((feature) => library.features.includes(feature));
}

/** `chosen`: titles of the scenarios to run, default all. */
export function interoperability(title: string, start: () => Promise<Place>, chosen?: readonly string[]): void {
  describe(title, { concurrency: CONCURRENCY }, () => {
    let place: Place;
    let trials = 0;
    // What the tests wait for does not keep this process: time-outs of signals.
    const alive = setInterval(() => {}, 1_000);
    before(async () => {
      place = await start();
    });
    after(async () => {
      clearInterval(alive);
      await endPython();
      await place.stop();
    });
    const trial = async (combination: Combination): Promise<Trial> =>
      new Trial(combination, await place.entrance(), ++trials);

    for (const combination of combinations()) {
      const { library, transport, version } = combination;
      const name = `${library.name}, MQTT ${version} over ${transport === 'tcp' ? 'TCP' : 'WebSocket'}, ${title}`;
      test(name, { skip: library.missing ?? false, concurrency: CONCURRENCY }, async (context) => {
        const mine = scenarios.filter(isFor(combination)).filter((one) => chosen?.includes(one.title) ?? true);
        await Promise.all(
          mine.map((scenario) =>
            context.test(scenario.title, async () => {
              const running = await trial(combination);
              try {
                await scenario.run(running);
              } finally {
                await running.end();
              }
            }),
          ),
        );
      });
    }

    test(`every library gets what every other one publishes, ${title}`, async () => {
      const running = await trial({ library: mqttJs, version: '5', transport: 'tcp' });
      try {
        await everyOneToEveryOne(running);
      } finally {
        await running.end();
      }
    });
  });
}

async function everyOneToEveryOne(trial: Trial): Promise<void> {
  const present = combinations().filter(({ library }) => library.missing === undefined);
  const clients = await Promise.all(present.map((combination) => trial.client({}, combination)));
  await Promise.all(clients.map((client) => client.subscribe(`${trial.root}/#`, 1)));
  await Promise.all(
    clients.map((client, index) => client.publish({ topic: `${trial.root}/${index}`, payload: `${index}`, qos: 1 })),
  );
  for (const { inbox } of clients) {
    const payloads: string[] = [];
    for (const _ of clients) payloads.push((await inbox.next()).payload);
    assert.deepEqual(payloads.sort(), clients.map((_, index) => `${index}`).sort());
  }
}
