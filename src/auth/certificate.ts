/**
 * Clients that are known by their certificate: the transport has verified it, here it becomes a user name. A client without one, or whose
 * CONNECT names another user, is left to the other links.
 */
import type { PeerCertificate } from '../transport/listener.ts';
import { accepted, type ChainLink, unknownClient } from './authenticator.ts';
import { userNamed } from './identity.ts';

/** Where the user name stands: the common name, or the first subject alternative name of a kind. */
export type CertificateField = 'cn' | 'dns' | 'uri' | 'email';

export function certificateLink(field: CertificateField): ChainLink {
  return {
    name: 'certificate',
    judge: (client, { username }) => {
      const { certificate } = client.peer();
      const name = certificate === undefined ? '' : nameIn(certificate, field);
      if (name === '' || (username !== undefined && username !== name)) return unknownClient;
      return accepted(userNamed(name));
    },
  };
}

function nameIn(certificate: PeerCertificate, field: CertificateField): string {
  return field === 'cn' ? certificate.commonName : (certificate[field][0] ?? '');
}
