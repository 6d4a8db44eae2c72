/** Reads the PROXY header from a socket and leaves every byte behind it to whoever reads next. entrance.ts calls it for trusted balancers. */
import type { Arrival } from './arrivals.ts';
import { type ProxyHeader, parseProxyHeader } from './proxy-header.ts';
import { ProxyHeaderError } from './proxy-header-error.ts';

/** The arrival is the client's afterwards, then `next` is called; anything else than a header closes the socket. */
export function applyProxyHeader(arrival: Arrival, next: () => void): void {
  const { socket } = arrival;
  let bytes: Buffer = Buffer.alloc(0);
  const read = (): void => {
    for (let chunk = readFrom(socket); chunk !== null; chunk = readFrom(socket)) {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const header = headerOf(arrival, bytes);
      if (header === 'bad') return stop();
      if (header !== undefined) return finish(header);
    }
  };
  const stop = (): void => void socket.off('readable', read).off('end', close);
  const close = (): void => void socket.destroy();
  const finish = (header: ProxyHeader): void => {
    stop();
    if (bytes.length > header.length) socket.unshift(bytes.subarray(header.length));
    apply(arrival, header);
    // The stream is a plain one again only then.
    process.nextTick(() => {
      if (!socket.destroyed) next();
    });
  };
  socket.on('readable', read).on('end', close);
}

function readFrom(socket: Arrival['socket']): Buffer | null {
  return socket.read() as Buffer | null; // no encoding is set
}

/** Undefined while more has to come. */
function headerOf(arrival: Arrival, bytes: Buffer): ProxyHeader | 'bad' | undefined {
  try {
    return parseProxyHeader(bytes);
  } catch (error) {
    if (!(error instanceof ProxyHeaderError)) throw error;
    arrival.fail('proxyHeader', error.message);
    return 'bad';
  }
}

function apply(arrival: Arrival, { commonName, source }: ProxyHeader): void {
  if (source !== undefined) {
    arrival.address = source.address;
    arrival.port = source.port;
  }
  if (commonName === undefined) return;
  const nothingElse = { dns: [], uri: [], email: [], fingerprint256: '' };
  arrival.balancerCertificate = { commonName, ...nothingElse, isFromBalancer: true };
}
