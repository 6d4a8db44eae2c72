/** What the benches of several nodes let the nodes do: arguments of mqttload, with clients in numbers that eight nodes divide evenly. */

export interface ScalingScenario {
  /** Of --rate of scaling.ts, what suits it. */
  readonly share: number;
  readonly args: readonly string[];
  /** What keeps it within bounds without a rate. */
  readonly saturate: readonly string[];
}

export const scenarios: Readonly<Record<string, ScalingScenario>> = {
  fanin: { share: 1, args: ['fanin', '--pubs', '64', '--subs', '1'], saturate: ['--ahead', '5000'] },
  pair: { share: 1, args: ['pair', '-n', '64'], saturate: ['--ahead', '20000'] },
  fanout: { share: 0.1, args: ['fanout', '--pubs', '1', '--subs', '64'], saturate: ['--ahead', '2000'] },
  'pair-qos1': { share: 0.5, args: ['pair', '-n', '64', '-q', '1'], saturate: ['--window', '20'] },
};

/** All, or those that are named; throws for a name that there is not. */
export function chosenScenarios(names: readonly string[]): [string, ScalingScenario][] {
  if (names.length === 0) return Object.entries(scenarios);
  return names.map((name) => {
    const scenario = scenarios[name];
    if (scenario === undefined) throw new Error(`no scenario ${name}; there are ${Object.keys(scenarios).join(', ')}`);
    return [name, scenario];
  });
}
