/** The whole corpus, and the statements that it cites. Played by corpus.test.ts. */
import { acknowledgements } from './acknowledgements.ts';
import type { Group } from './case.ts';
import { connects } from './connects.ts';
import { fixedHeader } from './fixed-header.ts';
import { propertyGroups } from './properties.ts';
import { publishes } from './publishes.ts';
import { strings } from './strings.ts';
import { subscriptions } from './subscriptions.ts';
import { truncation } from './truncation.ts';

export const groups: readonly Group[] = [
  ...fixedHeader,
  ...truncation,
  ...strings,
  ...propertyGroups,
  ...publishes,
  ...subscriptions,
  ...acknowledgements,
  ...connects,
];

/** Statements of a group, each once, those of MQTT 5 first. */
export function citationsOf({ also = [], cases }: Group): string[] {
  const ids = [...new Set([...cases.flatMap((one) => one.ids), ...also])];
  return [...ids.filter((id) => id.startsWith('MQTT5')), ...ids.filter((id) => id.startsWith('MQTT311'))];
}
