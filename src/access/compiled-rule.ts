/**
 * Rules made ready to be asked: filters taken apart, client id and user name put in their places. Rules without such places are compiled
 * once and shared by all clients.
 */
import type { QoS } from '../mqtt/packet.ts';
import { Pattern } from './pattern.ts';
import type { AccessRule } from './rule.ts';

export interface CompiledRule {
  readonly isAllowed: boolean;
  /** Which messages fit: one bit per QoS and RETAIN flag, see {@link publishBit}. 0 = the rule is not about publishing. */
  readonly publishBits: number;
  readonly subscribes: boolean;
  readonly maximumQos: QoS;
  readonly pattern: Pattern;
}

/** What `%c` and `%u` stand for. */
export interface Names {
  readonly clientId: string;
  /** Empty = anonymous. */
  readonly username: string;
}

/** All messages: three QoS, with and without RETAIN. */
export const ALL_PUBLISH_BITS = 0b111111;
const WITHOUT_RETAIN = 0b010101;

/** The place of a message in `publishBits`: QoS and RETAIN as they stand in the fixed header of PUBLISH. */
export function publishBit(qos: QoS, retain: boolean): number {
  return qos * 2 + (retain ? 1 : 0);
}

const placeholder = /%[cu]/g;

export function hasPlaceholder({ filter }: AccessRule): boolean {
  return filter.includes('%c') || filter.includes('%u');
}

/** A rule whose names cannot stand in its filter fits nothing, and is left out. */
export function compileRules(rules: readonly AccessRule[], names: Names): readonly CompiledRule[] {
  const compiled: CompiledRule[] = [];
  for (const rule of rules) {
    const filter = hasPlaceholder(rule) ? fill(rule, names) : rule.filter;
    if (filter !== undefined) compiled.push(compile(rule, filter));
  }
  return compiled;
}

function compile({ action, isAllowed, maximumQos, retain }: AccessRule, filter: string): CompiledRule {
  const ofQos = ALL_PUBLISH_BITS >> (4 - maximumQos * 2);
  const publishBits = action === 'subscribe' ? 0 : ofQos & (retain ? ALL_PUBLISH_BITS : WITHOUT_RETAIN);
  return { isAllowed, publishBits, subscribes: action !== 'publish', maximumQos, pattern: new Pattern(filter) };
}

/**
 * The filter with the names in it, all at once: a name that looks like a place is none. Undefined when a name would make more of an allowing
 * rule than its level says, or is empty. In a denying rule a `/` in a name names the topics that are meant, and makes nothing wider.
 */
function fill({ filter, isAllowed }: AccessRule, { clientId, username }: Names): string | undefined {
  let fits = true;
  const filled = filter.replace(placeholder, (place, offset: number) => {
    const name = place === '%c' ? clientId : username;
    if (name === '' || /[+#]/.test(name)) fits = false;
    // `$` in front would open what wildcards do not see.
    if (isAllowed && (name.includes('/') || (offset === 0 && name.startsWith('$')))) fits = false;
    return name;
  });
  return fits ? filled : undefined;
}
