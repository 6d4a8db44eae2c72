/** Certificates for tests, made with openssl when they are needed: an authority in a folder of its own, and what it signs and revokes. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface KeyPair {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export class Authority {
  readonly folder = mkdtempSync(join(tmpdir(), 'supermq-ca-'));
  readonly certFile: string;
  readonly cert: string;
  #serial = 0;

  constructor(name = 'Test authority') {
    const { certFile, cert } = this.#request('ca', name, ['-addext', 'basicConstraints=critical,CA:TRUE']);
    this.certFile = certFile;
    this.cert = cert;
    writeFileSync(join(this.folder, 'index.txt'), '');
    const database = `database=${this.folder}/index.txt\ndefault_md=sha256\ndefault_crl_days=2`;
    writeFileSync(join(this.folder, 'ca.cnf'), `[ca]\ndefault_ca=own\n[own]\n${database}\n`);
  }

  /** `names`: subject alternative names as openssl writes them, `DNS:a,URI:b`. */
  issue(commonName: string, names = 'IP:127.0.0.1'): KeyPair {
    const signed = ['-CA', this.certFile, '-CAkey', join(this.folder, 'ca.key')];
    const leaf = ['-addext', 'basicConstraints=CA:FALSE', '-addext', `subjectAltName=${names}`];
    return this.#request(`leaf-${++this.#serial}`, commonName, [...signed, ...leaf]);
  }

  /** A list with the certificates revoked so far; returns its file. */
  revoke(...revoked: readonly KeyPair[]): string {
    const common = ['ca', '-config', join(this.folder, 'ca.cnf'), '-cert', this.certFile];
    const ca = [...common, '-keyfile', join(this.folder, 'ca.key')];
    for (const { certFile } of revoked) openssl([...ca, '-revoke', certFile]);
    const file = join(this.folder, 'crl.pem');
    openssl([...ca, '-gencrl', '-out', file]);
    return file;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  #request(file: string, commonName: string, options: readonly string[]): KeyPair {
    const certFile = join(this.folder, `${file}.pem`);
    const keyFile = join(this.folder, `${file}.key`);
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
    openssl(['req', '-x509', ...key, '-out', certFile, '-days', '2', '-subj', `/CN=${commonName}`, ...options]);
    return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
  }
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}
