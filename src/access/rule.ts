/**
 * One rule about topics, wherever it comes from: a file, the claims of a token, the answer of an HTTP hook. Rules of a client are tried in
 * their order, the first that fits decides.
 */

import type { QoS } from '../mqtt/packet.ts';
import { firstLevel, isTopicFilter } from '../mqtt/topic.ts';

export type AccessAction = 'publish' | 'subscribe' | 'all';

export interface AccessRule {
  readonly isAllowed: boolean;
  readonly action: AccessAction;
  /** A topic filter; `%c` stands for the client id and `%u` for the user name, each as part of one level or all of it. */
  readonly filter: string;
  /** Of an allowing rule: what is above it does not fit. 2 for one that denies. */
  readonly maximumQos: QoS;
  /** Of an allowing rule: false = messages to be retained do not fit. True for one that denies. */
  readonly retain: boolean;
}

/** Rules that cannot be read; the message says which and why. */
export class AccessRuleError extends Error {
  constructor(what: string, options?: ErrorOptions) {
    super(what, options);
    this.name = 'AccessRuleError';
  }
}

const MAXIMUM_RULES = 1_000;
const members: ReadonlySet<string> = new Set(['allow', 'deny', 'filter', 'qos', 'retain']);

/**
 * Rules as JSON or YAML have them: `[{ "allow": "publish", "filter": "devices/%c/#", "qos": 1, "retain": false }, { "deny": "all", "filter": "#" }]`.
 * `qos` is 2 and `retain` true where they are left out; a rule that denies has neither: they would make it deny less than it seems to.
 * @throws AccessRuleError
 */
export function readRules(value: unknown): readonly AccessRule[] {
  if (!Array.isArray(value)) throw new AccessRuleError('rules are not a list');
  if (value.length > MAXIMUM_RULES) throw new AccessRuleError(`more than ${MAXIMUM_RULES} rules`);
  return value.map((rule: unknown, index) => readRule(rule, `rule ${index + 1}`));
}

function readRule(rule: unknown, name: string): AccessRule {
  if (typeof rule !== 'object' || rule === null) throw new AccessRuleError(`${name} is not an object`);
  const unknown = Object.keys(rule).find((member) => !members.has(member));
  if (unknown !== undefined) throw new AccessRuleError(`${name} has an unknown member ${JSON.stringify(unknown)}`);
  const { allow, deny, filter, qos = 2, retain = true } = rule as Record<string, unknown>;
  if ((allow === undefined) === (deny === undefined)) throw new AccessRuleError(`${name} needs either allow or deny`);
  const action = allow ?? deny;
  if (action !== 'publish' && action !== 'subscribe' && action !== 'all')
    throw new AccessRuleError(`${name}: the action is none of publish, subscribe, all`);
  if (typeof filter !== 'string' || !isTopicFilter(filter)) throw new AccessRuleError(`${name} has no topic filter`);
  if (['$share', '$g'].includes(firstLevel(filter)))
    throw new AccessRuleError(`${name} names a group: rules are about the filter inside it`);
  if (deny !== undefined && ('qos' in rule || 'retain' in rule))
    throw new AccessRuleError(`${name} denies, and takes neither qos nor retain`);
  if (qos !== 0 && qos !== 1 && qos !== 2) throw new AccessRuleError(`${name}: qos is none of 0, 1, 2`);
  if (typeof retain !== 'boolean') throw new AccessRuleError(`${name}: retain is neither true nor false`);
  return { isAllowed: allow !== undefined, action, filter, maximumQos: qos, retain };
}
