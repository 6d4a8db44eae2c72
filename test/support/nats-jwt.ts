/** NATS's decentralised authentication for tests: an operator, its system account, an account with JetStream, users and their creds files. */
import { randomUUID } from 'node:crypto';
import { nkeys } from 'nats';

type KeyPair = ReturnType<typeof nkeys.createUser>;

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
const STORAGE = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };

export interface JwtOperator {
  /** Configuration lines of a nats-server that trusts it. */
  readonly serverConfig: string;
  /** Content of a creds file for a new user of the account; `seconds`: how long it holds. */
  creds(seconds?: number): { readonly file: string; readonly seed: string; readonly jwt: string };
}

export function makeOperator(): JwtOperator {
  const [operator, system, account] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount()];
  const operatorJwt = sign(operator, operator, { system_account: system.getPublicKey(), type: 'operator' });
  const systemJwt = sign(operator, system, { limits: UNLIMITED, type: 'account' });
  const accountJwt = sign(operator, account, { limits: { ...UNLIMITED, ...STORAGE }, type: 'account' });
  const serverConfig = [
    `operator: "${operatorJwt}"`,
    `system_account: "${system.getPublicKey()}"`,
    'resolver: MEMORY',
    `resolver_preload: { ${system.getPublicKey()}: "${systemJwt}", ${account.getPublicKey()}: "${accountJwt}" }`,
  ].join('\n');
  return { serverConfig, creds: (seconds) => credsOf(account, seconds) };
}

function credsOf(account: KeyPair, seconds?: number): ReturnType<JwtOperator['creds']> {
  const user = nkeys.createUser();
  const jwt = sign(account, user, { pub: {}, sub: {}, subs: -1, data: -1, payload: -1, type: 'user' }, seconds);
  const seed = new TextDecoder().decode(user.getSeed());
  const file = [
    '-----BEGIN NATS USER JWT-----',
    jwt,
    '------END NATS USER JWT------',
    '',
    '-----BEGIN USER NKEY SEED-----',
    seed,
    '------END USER NKEY SEED------',
    '',
  ].join('\n');
  return { file, seed, jwt };
}

function sign(issuer: KeyPair, subject: KeyPair, nats: object, seconds?: number): string {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    jti: randomUUID(),
    iat: now,
    iss: issuer.getPublicKey(),
    name: 'test',
    sub: subject.getPublicKey(),
    nats: { ...nats, version: 2 },
    ...(seconds === undefined ? {} : { exp: now + seconds }),
  };
  const body = [{ typ: 'JWT', alg: 'ed25519-nkey' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${body}.${Buffer.from(issuer.sign(Buffer.from(body))).toString('base64url')}`;
}
