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
  };
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string };
  readonly auth: { readonly scram: { readonly file: string; readonly required: boolean } };
  readonly acl: { readonly file: string; readonly noMatch: 'auto' | 'allow' | 'deny' };
  readonly http: { readonly host: string; readonly port: number };
  readonly nats: {
    readonly servers: readonly string[];
    readonly replicas: number;
    readonly storage: 'file' | 'memory';
    readonly topicPrefix: string;
    readonly jetstream: 'on' | 'off';
    readonly log: {
      readonly maxAgeSeconds: number;
      readonly maxBytes: number;
      readonly discard: 'new' | 'old';
      readonly duplicateWindowSeconds: number;
    };
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
  };
}

/** The configuration cannot be used; the message has one sentence per line, each naming key, value and what is allowed. */
export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.name = 'ConfigError';
  }
}
