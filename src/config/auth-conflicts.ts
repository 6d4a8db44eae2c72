/** Rules between the options of authentication, and the chain that follows from them. */
import type { AuthConfig, ChainName } from './config.ts';

/** The links of the chain in their order: those that `auth.chain` names, else those that are configured, else anybody may connect. */
export function chainOf(auth: AuthConfig): readonly ChainName[] {
  if (auth.chain.length > 0) return auth.chain;
  const configured = configuredLinks(auth);
  return configured.length > 0 ? configured : ['anonymous'];
}

/** Whether a client that shows nothing is let in. */
export function isOpen(auth: AuthConfig): boolean {
  return !auth.scram.required && chainOf(auth).includes('anonymous');
}

/** What makes a link work. */
const needs = {
  certificate: ['auth.certificate.username', ({ certificate }) => certificate.username !== ''],
  jwt: [
    'auth.jwt.secretFile, auth.jwt.keysFile or auth.jwt.jwksUrl',
    ({ jwt }) => jwt.secretFile !== '' || jwt.keysFile !== '' || jwt.jwksUrl !== '',
  ],
  password: ['auth.password.file', ({ password }) => password.file !== ''],
  http: ['auth.http.url', ({ http }) => http.url !== ''],
} as const satisfies Record<Exclude<ChainName, 'anonymous'>, readonly [string, (auth: AuthConfig) => boolean]>;

type ConfiguredName = keyof typeof needs;

/** What costs little comes before what costs much. */
const order: readonly ConfiguredName[] = ['certificate', 'jwt', 'password', 'http'];

function configuredLinks(auth: AuthConfig): ConfiguredName[] {
  return order.filter((name) => needs[name][1](auth));
}

export function authConflicts(auth: AuthConfig): string[] {
  const problems = [...chainConflicts(auth), ...jwtConflicts(auth)];
  if (auth.scram.required && auth.scram.file === '') {
    problems.push(
      'auth.scram.required is true without auth.scram.file: name the file with the users, or nobody could connect.',
    );
  }
  if (auth.http.secretFile !== '' && auth.http.url === '')
    problems.push('auth.http.secretFile is set without auth.http.url: set both, or the URL alone.');
  return problems;
}

function chainConflicts(auth: AuthConfig): string[] {
  const configured = configuredLinks(auth);
  const named = auth.chain.filter((name) => name !== 'anonymous');
  const missing = named.filter((name) => !configured.includes(name));
  const unused = auth.chain.length === 0 ? [] : configured.filter((name) => !named.includes(name));
  return [
    ...missing.map((name) => `auth.chain has ${name} without ${needs[name][0]}: set it, or take ${name} out.`),
    ...unused.map((name) => `${needs[name][0]} is set, but auth.chain has no ${name}: add it, or remove the option.`),
  ];
}

function jwtConflicts({ jwt }: AuthConfig): string[] {
  const problems: string[] = [];
  if (jwt.keysFile !== '' && jwt.jwksUrl !== '')
    problems.push('auth.jwt.keysFile and auth.jwt.jwksUrl are both set: public keys come from one place, remove one.');
  const isConfigured = needs.jwt[1]({ jwt } as AuthConfig); // it reads nothing else
  const usable = jwt.algorithms.filter(
    (name) => (name === 'HS256' ? jwt.secretFile : jwt.keysFile + jwt.jwksUrl) !== '',
  );
  if (isConfigured && usable.length === 0)
    problems.push(
      'auth.jwt.algorithms has none that the configured keys are for: HS256 is for auth.jwt.secretFile, all others for public keys.',
    );
  return problems;
}

/** Files that must be there at the start. */
export function authFiles({ http, jwt, password, scram }: AuthConfig): Record<string, string> {
  return {
    'auth.scram.file': scram.file,
    'auth.password.file': password.file,
    'auth.jwt.secretFile': jwt.secretFile,
    'auth.jwt.keysFile': jwt.keysFile,
    'auth.http.secretFile': http.secretFile,
  };
}
