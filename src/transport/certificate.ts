/** Reads what the verified certificate of a TLS client says of its owner. tcp.ts asks for it when somebody asks who a peer is. */
import type { TLSSocket } from 'node:tls';
import type { PeerCertificate } from './listener.ts';

/** Undefined without a certificate, and for one that is not verified. */
export function certificateOf(socket: TLSSocket): PeerCertificate | undefined {
  if (!socket.authorized) return undefined;
  const { fingerprint256, subject, subjectaltname = '' } = socket.getPeerCertificate();
  if (fingerprint256 === undefined) return undefined;
  // Several common names are a list: which of them is meant nobody knows.
  const commonName: unknown = subject?.CN;
  return {
    commonName: typeof commonName === 'string' ? commonName : '',
    ...alternativeNames(subjectaltname),
    fingerprint256,
  };
}

type AlternativeNames = Pick<PeerCertificate, 'dns' | 'uri' | 'email'>;

const kinds: Readonly<Record<string, keyof AlternativeNames>> = { DNS: 'dns', URI: 'uri', email: 'email' };

/** `DNS:a, URI:b`, where a value that could be taken for more than one is a JSON string. */
export function alternativeNames(text: string): AlternativeNames {
  const names: Record<keyof AlternativeNames, string[]> = { dns: [], uri: [], email: [] };
  for (const [, kind = '', value = ''] of text.matchAll(/(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)(?=,|$)/g)) {
    const place = kinds[kind];
    if (place !== undefined) names[place].push(value.startsWith('"') ? String(JSON.parse(value)) : value);
  }
  return names;
}
