/**
 * The links of a node as one authenticator. They are asked in their order: who accepts or refuses decides, who does not know the client
 * leaves it to the next, and who cannot say now ends it, so that an outage lets nobody in and denies nobody. server.ts gets it from
 * node/authentication.ts.
 */
import {
  type Authenticator,
  type AuthenticatorName,
  badCredentials,
  type ChainLink,
  type ConnectingClient,
  type Credentials,
  type Decision,
  type Exchange,
  notAuthorized,
  type Opinion,
  type Refusal,
} from './authenticator.ts';

export interface ChainOptions {
  readonly links: readonly ChainLink[];
  readonly judged: (judgement: Judgement) => void;
}

/** What has become of a client, for counters and the log. */
export interface Judgement {
  /** `chain`: no link knows the client. */
  readonly by: AuthenticatorName | 'chain';
  readonly result: 'accepted' | 'refused' | 'unavailable';
  /** Absent where the client was accepted. */
  readonly refusal?: Pick<Refusal, 'reason' | 'text'>;
  readonly client: ConnectingClient;
  readonly username: string | undefined;
}

export function authenticationChain({ judged, links }: ChainOptions): Authenticator {
  const settle = (index: number, opinion: Opinion, client: ConnectingClient, credentials: Credentials) => {
    if (opinion.kind === 'unknown') return ask(index + 1, client, credentials);
    const by = links[index]?.name ?? 'chain';
    return decide(opinion, { by, client, username: credentials.username }, judged);
  };
  const ask = (index: number, client: ConnectingClient, credentials: Credentials): Decision | Promise<Decision> => {
    const opinion = links[index]?.judge(client, credentials) ?? unknownToAll(credentials);
    if (!(opinion instanceof Promise)) return settle(index, opinion, client, credentials);
    return opinion.then((answer) => settle(index, answer, client, credentials));
  };
  return {
    authenticate: (client, credentials) => ask(0, client, credentials),
    begin: (method, client) => {
      for (const { begin, name } of links) {
        const exchange = begin?.(method, client);
        if (exchange !== undefined) return watched(exchange, { by: name, client, username: undefined }, judged);
      }
      return undefined;
    },
  };
}

/** Somebody who shows credentials hears that they are wrong, as from the link that knows the user. */
function unknownToAll({ password, username }: Credentials): Refusal {
  if (username !== undefined || password !== undefined) return badCredentials;
  return notAuthorized('user name and password are needed');
}

type Judged = Pick<Judgement, 'by' | 'client' | 'username'>;

function decide(
  opinion: Exclude<Opinion, { kind: 'unknown' }>,
  about: Judged,
  judged: ChainOptions['judged'],
): Decision {
  if (opinion.kind === 'accepted') {
    judged({ ...about, result: 'accepted' });
    return opinion;
  }
  const { kind: result, reason, text } = opinion;
  judged({ ...about, result, refusal: { reason, text } });
  return { kind: 'refused', reason, text };
}

/** The end of an exchange is a judgement too. */
function watched(exchange: Exchange, about: Judged, judged: ChainOptions['judged']): Exchange {
  return {
    step: async (data) => {
      const verdict = await exchange.step(data);
      if (verdict.kind === 'success') judged({ ...about, result: 'accepted' });
      else if (verdict.kind === 'refused') {
        const { reason, text } = verdict;
        judged({ ...about, result: 'refused', refusal: { reason, text } });
      }
      return verdict;
    },
  };
}
