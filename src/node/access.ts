/** What clients of a node may do, as configured: rules of a file, read again when it changes. server.ts opens it once. */
import { openAclFile } from '../access/acl-file.ts';
import { Authorizer } from '../access/authorizer.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/config.ts';
import type { NodeContext } from '../connection/context.ts';

export interface AccessOptions {
  readonly acl: Config['acl'];
  readonly clock: Clock;
  readonly log: NodeContext['log'];
  /** The rules are others now: what clients have may be more than they may have. */
  readonly changed: () => void;
}

export interface NodeAccess {
  readonly authorizer: Authorizer;
  close(): void;
}

/** @throws AccessRuleError for a file of rules that cannot be used */
export function openAccess({ acl, changed, clock, log }: AccessOptions): NodeAccess {
  const { file: path, noMatch } = acl;
  if (path === '') return { authorizer: new Authorizer({ noMatch }), close: () => {} };
  const aclFile = openAclFile({
    path,
    clock,
    changed: () => {
      log.info({ event: 'acl.changed', entries: aclFile.entries().count }, 'The rules of access were read again');
      changed();
    },
    refused: (err) =>
      log.warn({ event: 'acl.refused', err }, 'The changed rules of access cannot be used: the old ones stay'),
  });
  return { authorizer: new Authorizer({ noMatch, entries: aclFile.entries }), close: () => aclFile.close() };
}
