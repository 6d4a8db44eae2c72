/** Lines about clients that are not let in: one a second for each reason, with the number of those before it that got none. */
import type { Logger } from 'pino';
import type { Judgement } from '../auth/chain.ts';
import { looksLikeToken } from '../auth/jwt.ts';
import type { Clock } from '../clock.ts';

const PAUSE_MILLISECONDS = 1_000;
const MAXIMUM_CHARACTERS = 128;
/** Reasons of one authenticator, whatever texts it makes. */
const MAXIMUM_REASONS = 100;

export interface RefusalLogOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** False: a user name may be a token. */
  readonly showsUsernames: boolean;
}

interface Told {
  at: number;
  untold: number;
}

export class RefusalLog {
  readonly #options: RefusalLogOptions;
  readonly #told = new Map<string, Told>();

  constructor(options: RefusalLogOptions) {
    this.#options = options;
  }

  note({ by, client, refusal, result, username }: Judgement): void {
    if (refusal === undefined || client.isGone()) return;
    const { clock, log, showsUsernames } = this.#options;
    const told = this.#of(`${by} ${refusal.text}`);
    const now = clock.now();
    if (now - told.at < PAUSE_MILLISECONDS) {
      told.untold++;
      return;
    }
    const { address, listener, port } = client.peer();
    log.info(
      {
        event: result === 'refused' ? 'auth.refused' : 'auth.unavailable',
        authenticator: by,
        reason: refusal.reason,
        text: refusal.text,
        clientId: client.clientId.slice(0, MAXIMUM_CHARACTERS),
        ...(showsUsernames ? { username: shown(username) } : {}),
        peer: { address, port, listener },
        untold: told.untold,
      },
      'A client is not let in',
    );
    told.at = now;
    told.untold = 0;
  }

  #of(reason: string): Told {
    let told = this.#told.get(reason);
    if (told === undefined) {
      if (this.#told.size >= MAXIMUM_REASONS) this.#told.clear();
      told = { at: Number.NEGATIVE_INFINITY, untold: 0 };
      this.#told.set(reason, told);
    }
    return told;
  }
}

/** A device that has its token in the wrong place tells nobody what it is. */
function shown(username: string | undefined): string | undefined {
  return username !== undefined && looksLikeToken(username) ? '[token]' : username?.slice(0, MAXIMUM_CHARACTERS);
}
