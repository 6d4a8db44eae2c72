/** The client's side of SCRAM-SHA-256 (RFC 5802), written apart from the server's own code; for names and passwords of ASCII. */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

export const METHOD = 'SCRAM-SHA-256';

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

export class ScramClient {
  readonly first: Buffer;
  readonly #password: string;
  readonly #header: string;
  readonly #bare: string;
  #signature: Buffer | undefined;

  constructor(name: string, password: string, { header = 'n,,', nonce = randomBytes(12).toString('hex') } = {}) {
    this.#password = password;
    this.#header = header;
    this.#bare = `n=${name},r=${nonce}`;
    this.first = Buffer.from(header + this.#bare);
  }

  /** The answer to server-first-message. */
  final(challenge: Buffer): Buffer {
    const serverFirst = challenge.toString();
    const {
      iterations = '',
      nonce = '',
      salt = '',
    } = /^r=(?<nonce>[^,]+),s=(?<salt>[^,]+),i=(?<iterations>\d+)$/.exec(serverFirst)?.groups ?? {};
    const salted = pbkdf2Sync(this.#password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const withoutProof = `c=${Buffer.from(this.#header).toString('base64')},r=${nonce}`;
    const authMessage = `${this.#bare},${serverFirst},${withoutProof}`;
    const storedKey = createHash('sha256').update(clientKey).digest();
    const signature = hmac(storedKey, authMessage);
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0)));
    this.#signature = hmac(hmac(salted, 'Server Key'), authMessage);
    return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`);
  }

  /** Whether the server knows the password too. */
  isProvedBy(serverFinal: Buffer | undefined): boolean {
    const wanted = Buffer.from(`v=${this.#signature?.toString('base64')}`);
    return serverFinal?.length === wanted.length && timingSafeEqual(serverFinal, wanted);
  }
}
