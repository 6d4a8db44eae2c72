/** The tokens that a node accepts, with where their keys come from. node/authentication.ts opens it. */

import { JwksUrl } from '../auth/jwks-url.ts';
import { JwtLink, type TokenKeys } from '../auth/jwt.ts';
import { parsePublicKeys, parseSecret, type TokenKey, TokenKeyError } from '../auth/token-keys.ts';
import { watchFile } from '../watched-file.ts';
import type { LinkContext } from './authentication.ts';

/** @throws TokenKeyError that names the option and the file */
export function openJwt(context: LinkContext): JwtLink {
  const { secretFile, keysFile, jwksSeconds, jwksUrl, timeoutMs, ...claims } = context.auth.jwt;
  const secret = secretFile === '' ? none : openKeys('auth.jwt.secretFile', secretFile, parseSecret, context);
  const fromFile = keysFile === '' ? none : openKeys('auth.jwt.keysFile', keysFile, parsePublicKeys, context);
  const fromUrl = jwksUrl === '' ? undefined : openUrl(context);
  const keys: TokenKeys = {
    all: () => [...secret(), ...fromFile(), ...(fromUrl?.keys ?? [])],
    mayMiss: () => fromUrl?.isCurrent === false,
    lookAgain: async () => fromUrl?.lookAgain(),
  };
  return new JwtLink({ clock: context.clock, keys, ...claims });
}

type Keys = () => readonly TokenKey[];
const none: Keys = () => [];

function openKeys(
  key: string,
  path: string,
  parse: (text: string) => readonly TokenKey[],
  { clock, closing, log }: LinkContext,
): Keys {
  let keys: readonly TokenKey[] = [];
  const close = watchFile({
    path,
    clock,
    use: (content) => {
      keys = parseFile(content, `${key} ${path}`, parse);
    },
    unreadable: (cause) => new TokenKeyError(`${key} ${path} cannot be read.`, { cause }),
    changed: () => log.info({ event: 'auth.keysChanged', keys: keys.length }, `${key} was read again`),
    refused: (err) =>
      log.warn({ event: 'auth.keysRefused', err }, 'The changed keys of tokens cannot be used: the old ones stay'),
  });
  closing(close);
  return () => keys;
}

/** @throws TokenKeyError as a sentence */
function parseFile(content: string, where: string, parse: (text: string) => readonly TokenKey[]): readonly TokenKey[] {
  try {
    return parse(content);
  } catch (cause) {
    if (cause instanceof TokenKeyError) throw new TokenKeyError(`${where} ${cause.message}.`);
    throw cause;
  }
}

function openUrl({ auth: { jwt }, clock, closing, log }: LinkContext): JwksUrl {
  const url = new JwksUrl({
    url: jwt.jwksUrl,
    timeoutMs: jwt.timeoutMs,
    refreshSeconds: jwt.jwksSeconds,
    clock,
    answers: (keys) => log.info({ event: 'auth.jwksFetched', keys }, 'The keys of tokens were fetched'),
    failed: (err) =>
      log.warn({ event: 'auth.jwksFailed', err }, 'The keys of tokens cannot be fetched: those fetched before stay'),
  });
  closing(() => url.close());
  return url;
}
