/** The configuration as the rest of the server sees it: complete, checked and frozen. */

export interface Config {
  readonly node: { readonly id: string };
  readonly log: { readonly level: string };
  readonly workers: number;
  readonly leaseSeconds: number;
  readonly drainSeconds: number;
  readonly drain: { readonly serverReference: readonly string[]; readonly permanent: boolean };
  readonly mqtt: {
    readonly maximumQos: 0 | 1 | 2;
    readonly retainAvailable: boolean;
    readonly wildcardSubscriptions: boolean;
    readonly subscriptionIdentifiers: boolean;
    readonly sharedSubscriptions: boolean;
    readonly responseInformation: string;
    readonly checkPayloadFormat: boolean;
    readonly tcp: { readonly host: string; readonly port: number };
    readonly tls: { readonly port: number };
    readonly ws: { readonly port: number; readonly path: string };
    readonly wss: { readonly port: number };
    readonly unix: { readonly path: string; readonly mode: string };
    readonly proxyProtocol: { readonly trusted: readonly string[] };
  };
  readonly tls: {
    readonly cert: string;
    readonly key: string;
    readonly ca: string;
    readonly crl: string;
    readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
    readonly clientCertificate: 'required' | 'optional';
  };
  readonly auth: AuthConfig;
  readonly acl: { readonly file: string; readonly noMatch: 'auto' | 'allow' | 'deny' };
  readonly http: { readonly host: string; readonly port: number };
  readonly nats: {
    readonly servers: readonly string[];
    readonly replicas: number;
    readonly storage: 'file' | 'memory';
    readonly topicPrefix: string;
    readonly inboxPrefix: string;
    readonly jetstream: 'on' | 'off';
    readonly provision: 'auto' | 'check';
    readonly log: {
      readonly maxAgeSeconds: number;
      readonly maxBytes: number;
      readonly discard: 'new' | 'old';
      readonly duplicateWindowSeconds: number;
    };
    readonly retained: { readonly maxMessages: number; readonly maxBytes: number };
    readonly sessions: { readonly maxSessions: number };
    readonly user: string;
    readonly password: string;
    readonly token: string;
    readonly nkeySeedFile: string;
    readonly credsFile: string;
    readonly tls: { readonly required: boolean; readonly ca: string; readonly cert: string; readonly key: string };
    readonly reconnectWaitMs: number;
    readonly pingIntervalSeconds: number;
    readonly maxInFlightBytes: number;
  };
  readonly groups: { readonly retentionSeconds: number };
  readonly limits: {
    readonly maxConnections: number;
    readonly maxPacketBytes: number;
    readonly connectTimeoutSeconds: number;
    readonly maxKeepAliveSeconds: number;
    readonly maxSessionExpirySeconds: number;
    readonly receiveMaximum: number;
    readonly maxInFlightPerClient: number;
    readonly maxSubscriptionsPerClient: number;
    readonly maxGroups: number;
    readonly maxOutboundBytesPerClient: number;
    readonly topicAliasMaximum: number;
    readonly outboundTopicAliasMaximum: number;
    readonly maxClientIdBytes: number;
    readonly backlog: number;
    readonly maxConnectionsPerAddress: number;
    readonly maxConnectionsPerUser: number;
    readonly connectsPerSecond: number;
    readonly connectBurst: number;
    readonly connectsPerSecondPerAddress: number;
    readonly exemptAddresses: readonly string[];
    readonly jailSeconds: number;
    readonly jailFailures: number;
    readonly jailReconnects: number;
    readonly jailWindowSeconds: number;
    readonly maxEventLoopDelayMs: number;
    readonly maxMemoryBytes: number;
    readonly publishesPerSecond: number;
    readonly publishBytesPerSecond: number;
    readonly maxConnectBytes: number;
    readonly maxTopicBytes: number;
    readonly maxTopicLevels: number;
    readonly maxWillBytes: number;
    readonly maxArrivals: number;
  };
}

export type ChainName = 'certificate' | 'jwt' | 'password' | 'http' | 'anonymous';

export interface AuthConfig {
  readonly clientIdsBelongToUsers: boolean;
  /** Empty: what is configured, see {@link chainOf}. */
  readonly chain: readonly ChainName[];
  readonly scram: { readonly file: string; readonly required: boolean };
  readonly certificate: { readonly username: 'cn' | 'dns' | 'uri' | 'email' | '' };
  readonly password: {
    readonly file: string;
    readonly concurrency: number;
    readonly queue: number;
    readonly cacheSeconds: number;
    readonly cacheEntries: number;
  };
  readonly jwt: {
    readonly secretFile: string;
    readonly keysFile: string;
    readonly jwksUrl: string;
    readonly jwksSeconds: number;
    readonly timeoutMs: number;
    readonly algorithms: ReadonlyArray<'HS256' | 'RS256' | 'PS256' | 'ES256' | 'EdDSA'>;
    readonly field: 'password' | 'username';
    readonly issuer: string;
    readonly audience: string;
    readonly clockSkewSeconds: number;
    readonly expiryRequired: boolean;
    readonly usernameClaim: string;
    readonly clientIdClaim: string;
    readonly groupsClaim: string;
    readonly rulesClaim: string;
  };
  readonly http: {
    readonly url: string;
    readonly secretFile: string;
    readonly timeoutMs: number;
    readonly concurrency: number;
    readonly queue: number;
    readonly failures: number;
    readonly pauseSeconds: number;
    readonly cacheSeconds: number;
    readonly refusedCacheSeconds: number;
    readonly cacheEntries: number;
  };
}

/** The configuration cannot be used; the message has one sentence per line, each naming key, value and what is allowed. */
export class ConfigError extends Error {
  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('\n'), options);
    this.name = 'ConfigError';
  }
}
