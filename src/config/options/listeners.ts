/** Options of what clients and operators connect to. */
import { addressBlocks } from '../address-blocks.ts';
import { choice, file, port, text, urlPath } from '../formats.ts';
import { type Option, option } from './option.ts';

export const listeners: readonly Option[] = [
  option(
    'mqtt.tcp.host',
    'MQTT_TCP_HOST',
    text('a host name or address', /^\S+$/),
    '0.0.0.0',
    'Address that all MQTT listeners bind to.',
  ),
  option('mqtt.tcp.port', 'MQTT_TCP_PORT', port, 1883, 'MQTT over TCP.'),
  option('mqtt.tls.port', 'MQTT_TLS_PORT', port, 0, 'MQTT over TLS (8883 by custom).'),
  option('mqtt.ws.port', 'MQTT_WS_PORT', port, 8083, 'MQTT over WebSocket.'),
  option('mqtt.ws.path', 'MQTT_WS_PATH', urlPath, '/mqtt', 'Path of WebSocket requests, for both WebSocket listeners.'),
  option('mqtt.wss.port', 'MQTT_WSS_PORT', port, 0, 'MQTT over WebSocket with TLS (8084 by custom).'),
  option(
    'mqtt.unix.path',
    'MQTT_UNIX_PATH',
    text('a path of at most 107 bytes, or empty', /^[\x20-\x7e]{0,107}$/),
    '',
    'MQTT over a Unix socket at this path, for clients on the same machine; empty = off.',
  ),
  option(
    'mqtt.unix.mode',
    'MQTT_UNIX_MODE',
    text("an octal mode in quotes, such as '660'", /^0?[0-7]{3}$/),
    '660',
    'Mode of the Unix socket: who may write to it may connect.',
  ),
  option(
    'mqtt.proxyProtocol.trusted',
    'MQTT_PROXY_PROTOCOL_TRUSTED',
    addressBlocks,
    [],
    'Balancers whose connections begin with a PROXY header, version 1 or 2, and no others; empty = no PROXY protocol.',
  ),
];

export const tlsAndHttp: readonly Option[] = [
  option('tls.cert', 'TLS_CERT', file, '', 'PEM file with the certificate chain of the TLS listeners.'),
  option('tls.key', 'TLS_KEY', file, '', 'PEM file with the private key of the TLS listeners.'),
  option(
    'tls.ca',
    'TLS_CA',
    file,
    '',
    'PEM file with the authorities of client certificates; set = clients are asked for one.',
  ),
  option(
    'tls.clientCertificate',
    'TLS_CLIENT_CERTIFICATE',
    choice('required', 'optional'),
    'required',
    'With `tls.ca`: clients must show a certificate, or may; one that is shown must be valid either way.',
  ),
  option(
    'tls.crl',
    'TLS_CRL',
    file,
    '',
    'PEM file with the revocation lists of all authorities in `tls.ca`; a client whose certificate is on one is refused.',
  ),
  option(
    'tls.minVersion',
    'TLS_MIN_VERSION',
    choice('TLSv1.2', 'TLSv1.3'),
    'TLSv1.2',
    'Lowest version of TLS that clients may use.',
  ),
  option(
    'http.host',
    'HTTP_HOST',
    text('a host name or address', /^\S+$/),
    '0.0.0.0',
    'Address of /healthz, /readyz and /metrics.',
  ),
  option('http.port', 'HTTP_PORT', port, 11883, 'Port of /healthz, /readyz and /metrics.'),
];
