/**
 * Who may connect to a node, as configured: the links of the chain with their files and services, counters and log lines. server.ts opens
 * it once.
 */
import type { Logger } from 'pino';
import { anonymousLink } from '../auth/anonymous.ts';
import type { Authenticator, ChainLink } from '../auth/authenticator.ts';
import { certificateLink } from '../auth/certificate.ts';
import { authenticationChain } from '../auth/chain.ts';
import { HttpHookLink } from '../auth/http-hook.ts';
import { PasswordLink } from '../auth/password.ts';
import { openPasswordFile } from '../auth/password-file.ts';
import { scramLink } from '../auth/scram.ts';
import { openScramFile } from '../auth/scram-file.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import { chainOf, isOpen } from '../config/auth-conflicts.ts';
import type { AuthConfig, ChainName, Config } from '../config/config.ts';
import type { Counters } from '../counters.ts';
import { watchFile } from '../watched-file.ts';
import { RefusalLog } from './refusal-log.ts';
import { openJwt } from './tokens.ts';

export interface AuthenticationOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly counters: Counters;
}

export interface NodeAuthentication {
  readonly authenticator: Authenticator;
  close(): void;
}

/** What a link is made of. */
export interface LinkContext {
  readonly auth: AuthConfig;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when the node stops. */
  readonly closing: (close: CancelTimer) => void;
}

/** @throws errors of files that cannot be used, each a sentence */
export function openAuthentication({ clock, config, counters, log }: AuthenticationOptions): NodeAuthentication {
  const { auth, nats } = config;
  const closes: CancelTimer[] = [];
  const close = (): void => {
    for (const task of closes.splice(0)) task();
  };
  if (isOpen(auth) && nats.servers.length > 0) {
    log.warn(
      { event: 'auth.open' },
      'Anybody who reaches this node may connect to it, and through it to NATS: configure auth, see docs/security.md',
    );
  }
  try {
    const links = makeLinks({ auth, clock, log, closing: (task) => closes.push(task) });
    const refusals = new RefusalLog({ clock, log, showsUsernames: auth.jwt.field !== 'username' });
    const judged: Parameters<typeof authenticationChain>[0]['judged'] = (judgement) => {
      counters.authentications[judgement.by][judgement.result]++;
      refusals.note(judgement);
    };
    return { authenticator: authenticationChain({ links, judged }), close };
  } catch (error) {
    close();
    throw error;
  }
}

function makeLinks(context: LinkContext): readonly ChainLink[] {
  const { auth } = context;
  const chain = chainOf(auth);
  const makers: Record<ChainName, () => ChainLink> = {
    certificate: () => certificateLink(auth.certificate.username === '' ? 'cn' : auth.certificate.username),
    jwt: () => openJwt(context),
    password: () => openPasswords(context),
    http: () => openHook(context),
    anonymous: () => anonymousLink(chain.length > 1),
  };
  const links = chain.map((name) => makers[name]());
  return auth.scram.file === '' ? links : [openScram(context), ...links];
}

/** @throws ScramError for a file of users that cannot be used */
function openScram({ auth, clock, closing, log }: LinkContext): ChainLink {
  const scramFile = openScramFile({
    path: auth.scram.file,
    clock,
    changed: () => log.info({ event: 'auth.usersChanged', users: users.count }, 'The users of SCRAM were read again'),
    refused: (err) =>
      log.warn({ event: 'auth.usersRefused', err }, 'The changed users of SCRAM cannot be used: the old ones stay'),
  });
  closing(() => scramFile.close());
  const { users } = scramFile;
  if (!users.hasSecret) {
    log.warn(
      { event: 'auth.scramWithoutSecret' },
      'Who can ask several nodes, or before and after a restart, finds out which names auth.scram.file has: add a line of `supermq scram-secret`',
    );
  }
  return scramLink({ users, requiresMethod: auth.scram.required });
}

/** @throws PasswordError for a file of users that cannot be used */
function openPasswords({ auth, clock, closing, log }: LinkContext): ChainLink {
  const { file: path, ...settings } = auth.password;
  const link = new PasswordLink({ clock, ...settings });
  const close = openPasswordFile({
    path,
    clock,
    users: (users) => link.replace(users),
    changed: () => log.info({ event: 'auth.passwordsChanged', users: link.count }, 'The passwords were read again'),
    refused: (err) =>
      log.warn({ event: 'auth.passwordsRefused', err }, 'The changed passwords cannot be used: the old ones stay'),
  });
  closing(close);
  return link;
}

function openHook({ auth, clock, closing, log }: LinkContext): ChainLink {
  const { secretFile, ...settings } = auth.http;
  let secret = '';
  if (secretFile !== '') {
    const close = watchFile({
      path: secretFile,
      clock,
      use: (content) => {
        const found = content.trim();
        if (!/^[\x21-\x7e]+$/.test(found))
          throw new Error(`auth.http.secretFile ${secretFile} is not one word of printable ASCII.`);
        secret = found;
      },
      unreadable: (cause) => new Error(`auth.http.secretFile ${secretFile} cannot be read.`, { cause }),
      changed: () => log.info({ event: 'auth.httpSecretChanged' }, 'The secret of auth.http was read again'),
      refused: (err) => log.warn({ event: 'auth.httpSecretRefused', err }, 'The changed secret cannot be used'),
    });
    closing(close);
  }
  return new HttpHookLink({
    ...settings,
    clock,
    secret: () => secret,
    failed: (err) =>
      log.warn({ event: 'auth.httpUnavailable', err }, 'auth.http does not answer: it is left alone for a while'),
    answers: () => log.info({ event: 'auth.httpAvailable' }, 'auth.http answers again'),
  });
}
