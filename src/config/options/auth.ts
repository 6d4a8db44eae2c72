/** Options of who may connect. */
import { boolean, choice, choiceOrEmpty, choices, file, httpUrl, integer, text } from '../formats.ts';
import { type Option, option } from './option.ts';

const chain: readonly Option[] = [
  option(
    'auth.chain',
    'AUTH_CHAIN',
    choices('certificate', 'jwt', 'password', 'http', 'anonymous'),
    [],
    'Who is asked about a client, in this order; empty = those of certificate, jwt, password, http that are configured, or anonymous when none is: anybody may connect.',
  ),
  option(
    'auth.clientIdsBelongToUsers',
    'AUTH_CLIENT_IDS_BELONG_TO_USERS',
    boolean,
    true,
    'Refuse a client whose id another user has, connected or with a stored session; clients without a user do not keep theirs.',
  ),
  option(
    'auth.scram.file',
    'AUTH_SCRAM_FILE',
    file,
    '',
    'File with the users of SCRAM-SHA-256 (MQTT 5), one per line as `supermq scram-user` makes them; read again when it changes.',
  ),
  option(
    'auth.scram.required',
    'AUTH_SCRAM_REQUIRED',
    boolean,
    false,
    'Refuse clients that do not authenticate with SCRAM-SHA-256, which includes all of MQTT 3.x.',
  ),
  option(
    'auth.certificate.username',
    'AUTH_CERTIFICATE_USERNAME',
    choiceOrEmpty('cn', 'dns', 'uri', 'email'),
    '',
    'What of a verified client certificate is the user name: the common name, or the first subject alternative name of a kind; empty = certificates name nobody.',
  ),
];

const password: readonly Option[] = [
  option(
    'auth.password.file',
    'AUTH_PASSWORD_FILE',
    file,
    '',
    'File with users and hashes of their passwords, one per line as `supermq password-user` makes them; read again when it changes.',
  ),
  option(
    'auth.password.concurrency',
    'AUTH_PASSWORD_CONCURRENCY',
    integer(1, 64),
    2,
    'Passwords hashed at once; each takes a thread of Node (UV_THREADPOOL_SIZE, 4 by default) and 16 MiB.',
  ),
  option(
    'auth.password.queue',
    'AUTH_PASSWORD_QUEUE',
    integer(0, 1_000_000),
    1_000,
    'Clients that may wait for their password to be hashed; further ones are turned away as by a busy server.',
  ),
  option(
    'auth.password.cacheSeconds',
    'AUTH_PASSWORD_CACHE_SECONDS',
    integer(0, 86_400, 'seconds'),
    300,
    'How long a right password is not hashed again; 0 = always. A changed line of the file counts at once.',
  ),
  option(
    'auth.password.cacheEntries',
    'AUTH_PASSWORD_CACHE_ENTRIES',
    integer(1, 10_000_000),
    50_000,
    'Right passwords remembered, as keyed hashes of some 200 bytes.',
  ),
];

const jwt: readonly Option[] = [
  option(
    'auth.jwt.secretFile',
    'AUTH_JWT_SECRET_FILE',
    file,
    '',
    'File with the secret of HS256 tokens, 32 bytes or more; read again when it changes.',
  ),
  option(
    'auth.jwt.keysFile',
    'AUTH_JWT_KEYS_FILE',
    file,
    '',
    'File with public keys of tokens, as PEM or as JWKS; read again when it changes.',
  ),
  option(
    'auth.jwt.jwksUrl',
    'AUTH_JWT_JWKS_URL',
    httpUrl,
    '',
    'Where public keys of tokens are fetched as JWKS; the last good ones stay in use while it does not answer.',
  ),
  option(
    'auth.jwt.jwksSeconds',
    'AUTH_JWT_JWKS_SECONDS',
    integer(30, 86_400, 'seconds'),
    600,
    'How often the JWKS are fetched; for an unknown key they are fetched at once, but not within 30 seconds of the last time.',
  ),
  option(
    'auth.jwt.timeoutMs',
    'AUTH_JWT_TIMEOUT_MS',
    integer(100, 60_000, 'milliseconds'),
    5_000,
    'How long auth.jwt.jwksUrl may take to answer.',
  ),
  option(
    'auth.jwt.algorithms',
    'AUTH_JWT_ALGORITHMS',
    choices('HS256', 'RS256', 'PS256', 'ES256', 'EdDSA'),
    ['HS256', 'RS256', 'PS256', 'ES256', 'EdDSA'],
    'Signatures that are accepted: HS256 by the secret, the others by public keys of their kind.',
  ),
  option(
    'auth.jwt.field',
    'AUTH_JWT_FIELD',
    choice('password', 'username'),
    'password',
    'Where CONNECT has the token.',
  ),
  option('auth.jwt.issuer', 'AUTH_JWT_ISSUER', text(), '', 'What the claim iss must be; empty = anything.'),
  option(
    'auth.jwt.audience',
    'AUTH_JWT_AUDIENCE',
    text(),
    '',
    'What the claim aud must be or have in its list; empty = anything.',
  ),
  option(
    'auth.jwt.clockSkewSeconds',
    'AUTH_JWT_CLOCK_SKEW_SECONDS',
    integer(0, 300, 'seconds'),
    10,
    'How far the clocks of issuer and node may be apart: exp counts that much later, nbf that much earlier.',
  ),
  option(
    'auth.jwt.expiryRequired',
    'AUTH_JWT_EXPIRY_REQUIRED',
    boolean,
    true,
    'Refuse tokens without exp, which would be good for ever.',
  ),
  option(
    'auth.jwt.usernameClaim',
    'AUTH_JWT_USERNAME_CLAIM',
    text('the name of a claim', /^\S+$/),
    'sub',
    'The claim that is the user name.',
  ),
  option(
    'auth.jwt.clientIdClaim',
    'AUTH_JWT_CLIENT_ID_CLAIM',
    text(),
    '',
    'A claim that must be the client id; empty = none.',
  ),
  option(
    'auth.jwt.groupsClaim',
    'AUTH_JWT_GROUPS_CLAIM',
    text(),
    'groups',
    'The claim with the list of groups; empty = none.',
  ),
  option(
    'auth.jwt.rulesClaim',
    'AUTH_JWT_RULES_CLAIM',
    text(),
    '',
    'The claim with the list of rules about topics; empty = none.',
  ),
];

const http: readonly Option[] = [
  option(
    'auth.http.url',
    'AUTH_HTTP_URL',
    httpUrl,
    '',
    'Service that is asked about clients with POST, see docs/security.md.',
  ),
  option(
    'auth.http.secretFile',
    'AUTH_HTTP_SECRET_FILE',
    file,
    '',
    'File with a secret that the service gets as `Authorization: Bearer`; read again when it changes.',
  ),
  option(
    'auth.http.timeoutMs',
    'AUTH_HTTP_TIMEOUT_MS',
    integer(50, 60_000, 'milliseconds'),
    2_000,
    'How long the service may take to answer.',
  ),
  option(
    'auth.http.concurrency',
    'AUTH_HTTP_CONCURRENCY',
    integer(1, 1_000),
    32,
    'Questions to the service under way at once.',
  ),
  option(
    'auth.http.queue',
    'AUTH_HTTP_QUEUE',
    integer(0, 1_000_000),
    1_000,
    'Questions that may wait; further clients are turned away as by a busy server.',
  ),
  option(
    'auth.http.failures',
    'AUTH_HTTP_FAILURES',
    integer(1, 1_000),
    5,
    'Failures in a row after which the service is left alone for a while.',
  ),
  option(
    'auth.http.pauseSeconds',
    'AUTH_HTTP_PAUSE_SECONDS',
    integer(1, 3_600, 'seconds'),
    5,
    'How long it is left alone; then one question tries whether it answers again.',
  ),
  option(
    'auth.http.cacheSeconds',
    'AUTH_HTTP_CACHE_SECONDS',
    integer(0, 86_400, 'seconds'),
    60,
    'How long it is not asked again about the same credentials of the same client that it allowed.',
  ),
  option(
    'auth.http.refusedCacheSeconds',
    'AUTH_HTTP_REFUSED_CACHE_SECONDS',
    integer(0, 86_400, 'seconds'),
    5,
    'The same for those that it denied or ignored.',
  ),
  option(
    'auth.http.cacheEntries',
    'AUTH_HTTP_CACHE_ENTRIES',
    integer(1, 10_000_000),
    10_000,
    'Answers remembered, of those that it allowed and of the others each.',
  ),
];

export const auth: readonly Option[] = [...chain, ...password, ...jwt, ...http];
