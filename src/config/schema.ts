/**
 * Every option of the server: key, environment variable, default, what is allowed, and what it means. The table in
 * docs/configuration.md, config/default.yaml and `--help` are made from this list; convict gets it as its schema.
 */
import { acl } from './options/acl.ts';
import { auth } from './options/auth.ts';
import { capabilities } from './options/capabilities.ts';
import { limits } from './options/limits.ts';
import { listeners, tlsAndHttp } from './options/listeners.ts';
import { groups, nats } from './options/nats.ts';
import { drain, node } from './options/node.ts';
import type { Option } from './options/option.ts';

/** All options, in the order in which the documentation shows them. */
export const schema: readonly Option[] = [
  ...node,
  ...drain,
  ...listeners,
  ...capabilities,
  ...tlsAndHttp,
  ...auth,
  ...acl,
  ...nats,
  ...groups,
  ...limits,
];
