/** TLS on sockets that were let in: the handshake, the client's certificate, and certificates of ours that change while it runs. tcp.ts and ws.ts use it. */
import { constants } from 'node:crypto';
import { createServer, type TLSSocket } from 'node:tls';
import type { Arrival, Arrivals } from './arrivals.ts';
import type { TlsMaterial, TlsOptions } from './listener.ts';

export interface TlsStageOptions {
  readonly tls: TlsOptions;
  /** Protocols that the listener speaks. A client that offers others only is refused in the handshake, one that offers none is fine. */
  readonly alpn: readonly string[];
  readonly arrivals: Arrivals;
  /** The handshake is over. */
  readonly secured: (socket: TLSSocket, arrival: Arrival) => void;
}

export interface TlsStage {
  /** Begins the handshake. */
  begin(arrival: Arrival): void;
  /** Handshakes from now on use these. */
  useMaterial(material: TlsMaterial): void;
}

export function makeTlsStage({ alpn, arrivals, secured, tls }: TlsStageOptions): TlsStage {
  const { clientCertificate, minVersion } = tls;
  const asks = tls.material.ca !== undefined;
  // A client of TLS 1.2 would make us do handshakes for as long as it is connected.
  const settings = { minVersion, secureOptions: constants.SSL_OP_NO_RENEGOTIATION };
  const server = createServer({
    ...tls.material,
    ...settings,
    ALPNProtocols: [...alpn],
    requestCert: asks,
    rejectUnauthorized: asks && clientCertificate === 'required',
  });
  server.on('secureConnection', (socket) => {
    const arrival = arrivals.of(socket);
    if (arrival === undefined) return socket.destroy(new Error('a TLS connection of no socket'));
    // One that may show a certificate and shows a bad one means to be somebody: it does not get in as nobody.
    if (asks && !socket.authorized && socket.getPeerX509Certificate() !== undefined)
      return arrival.fail('tls', `client certificate: ${socket.authorizationError}`);
    secured(socket, arrival);
  });
  // A failed handshake ends that socket and concerns nobody else.
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const arrival = arrivals.of(socket);
    const certificateError: unknown = socket.authorizationError;
    if (certificateError) arrival?.note('tls', `client certificate: ${certificateError}`);
    else if (error.code !== 'ECONNRESET') arrival?.note('tls', error.code ?? error.message);
    socket.destroy();
    arrival?.socket.destroy();
  });
  return {
    begin: ({ socket }) => void server.emit('connection', socket),
    useMaterial: (material) => server.setSecureContext({ ...material, ...settings }),
  };
}
