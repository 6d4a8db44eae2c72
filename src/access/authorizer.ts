/** Makes what a client may do out of the rules of its credentials and of the file. node/access.ts builds one for the node. */
import type { AclEntries } from './acl-entries.ts';
import { ClientAccess } from './client-access.ts';
import { compileRules, type Names } from './compiled-rule.ts';
import type { AccessRule } from './rule.ts';

/** auto: deny for clients that rules exist for, be it in the file or with their credentials; allow for the others. */
export type NoMatch = 'auto' | 'allow' | 'deny';

/** Who asks: what is known once a client is authenticated. */
export interface AccessClient extends Names {
  readonly groups: readonly string[];
  /** Rules that came with the credentials, before all others; undefined = none came. */
  readonly rules: readonly AccessRule[] | undefined;
}

export interface AuthorizerOptions {
  /** What no rule fits. */
  readonly noMatch: NoMatch;
  /** The entries of the file as they are now; undefined = there is no file. */
  readonly entries?: () => AclEntries;
}

export class Authorizer {
  readonly #options: AuthorizerOptions;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** Undefined for a client that may do everything: no rule is about it. */
  accessOf(client: AccessClient): ClientAccess | undefined {
    const { entries, noMatch } = this.#options;
    const isRestricted = entries !== undefined || client.rules !== undefined;
    if (!isRestricted && noMatch !== 'deny') return undefined;
    const isAllowedByDefault = noMatch === 'allow';
    return new ClientAccess(() => {
      const own = client.rules === undefined ? [] : [compileRules(client.rules, client)];
      return { lists: [...own, ...(entries?.().rulesOf(client) ?? [])], isAllowedByDefault };
    });
  }
}

/** Of a node without rules. */
export const noAuthorizer = new Authorizer({ noMatch: 'auto' });
