/**
 * Certificate, key, authorities and revocations of the TLS listeners: read at the start, which anything unusable stops, and again when one
 * of them has changed. Certificate and key change one after the other, so a pair that does not fit is waited with for a few seconds; when it
 * still does not, the old one stays in use and the log says so. listeners.ts opens them.
 */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { CancelTimer, Clock } from '../clock.ts';
import { type Config, ConfigError } from '../config/config.ts';
import type { TlsMaterial } from '../transport/listener.ts';
import { watchFile } from '../watched-file.ts';

/** How long certificate and key may take to change. */
const MISMATCH_MILLISECONDS = 5_000;

/** What is known of a certificate in use; nothing of it is secret. */
export interface CertificateFacts {
  readonly fingerprint256: string;
  readonly validTo: string;
}

export interface TlsFilesOptions {
  readonly files: Pick<Config['tls'], 'cert' | 'key' | 'ca' | 'crl'>;
  readonly clock: Clock;
  /** New contents are in use. */
  readonly changed: (material: TlsMaterial, facts: CertificateFacts) => void;
  /** New contents cannot be used; the message says why. */
  readonly refused: (error: Error) => void;
}

export interface TlsFiles {
  /** What is in use now. */
  readonly material: () => TlsMaterial;
  close(): void;
}

type Part = keyof TlsMaterial;

/** @throws ConfigError that names what cannot be used */
export function openTlsFiles({ changed, clock, files, refused }: TlsFilesOptions): TlsFiles {
  const contents: Partial<Record<Part, string>> = {};
  const parts = (['cert', 'key', 'ca', 'crl'] as const).filter((part) => files[part] !== '');
  let inUse: TlsMaterial;
  let cancelWait: CancelTimer = () => {};
  const apply = (): Error | undefined => {
    try {
      inUse = checked(contents);
      cancelWait();
      changed(inUse, factsOf(inUse));
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  };
  const tryIt = (): void => {
    cancelWait();
    if (apply() === undefined) return;
    cancelWait = clock.after(MISMATCH_MILLISECONDS, () => {
      const error = apply();
      if (error !== undefined) refused(error);
    });
  };
  const watches = parts.map((part) =>
    watchFile({
      path: files[part],
      clock,
      use: (text) => {
        contents[part] = text;
      },
      unreadable: (cause) =>
        new ConfigError([`tls.${part} is ${files[part]}, which cannot be read: check the path and its permissions.`], {
          cause,
        }),
      changed: tryIt,
      refused,
    }),
  );
  const close = (): void => {
    cancelWait();
    for (const cancel of watches) cancel();
  };
  try {
    inUse = checked(contents);
    return { material: () => inUse, close };
  } catch (cause) {
    close();
    const names = parts.map((part) => `tls.${part}`).join(', ');
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError([
      `${names} cannot be used for TLS (${reason}): check that they are PEM files and that the key belongs to the certificate.`,
    ]);
  }
}

/** @throws Error when the parts are no PEM, and that of OpenSSL when key and certificate do not fit together */
function checked({ ca, cert = '', crl, key = '' }: Partial<Record<Part, string>>): TlsMaterial {
  const material = {
    cert,
    key,
    ...(ca === undefined ? {} : { ca: pemBlocks('tls.ca', ca) }),
    ...(crl === undefined ? {} : { crl: pemBlocks('tls.crl', crl) }),
  };
  createSecureContext(material);
  for (const authority of material.ca ?? []) new X509Certificate(authority);
  factsOf(material);
  return material;
}

/**
 * Every block on its own: of revocation lists in one text node takes the first. None at all is an error: with an empty text node would trust
 * all public authorities, or check no revocation. So is half a block, of a file that is just being written.
 */
function pemBlocks(option: string, text: string): string[] {
  const blocks = text.match(/-----BEGIN [^-]+-----[^-]*-----END [^-]+-----/g) ?? [];
  if (blocks.length === 0 || blocks.length !== text.match(/-----BEGIN /g)?.length)
    throw new Error(`${option} is empty or incomplete`);
  return blocks;
}

function factsOf({ cert }: TlsMaterial): CertificateFacts {
  const { fingerprint256, validTo } = new X509Certificate(cert);
  return { fingerprint256, validTo };
}
