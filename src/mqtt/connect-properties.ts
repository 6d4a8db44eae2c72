/** The properties of a CONNECT of MQTT 5. Called by connect.ts. */
import { PacketType } from './packet.ts';
import { checkAuthentication } from './properties.ts';
import { PropertyScan } from './property-scan.ts';
import { Reader } from './reader.ts';

/** What a server must know of the properties of a CONNECT; what is absent has the default of the specification. Copies. */
export interface ConnectProperties {
  sessionExpirySeconds: number;
  receiveMaximum: number;
  /** Bytes; Infinity when the client states none. */
  maximumPacketSize: number;
  topicAliasMaximum: number;
  requestResponseInformation: boolean;
  requestProblemInformation: boolean;
  authenticationMethod: string | undefined;
  authenticationData: Buffer | undefined;
}

/** A CONNECT without properties, or of MQTT 3.x. */
export const noConnectProperties: Readonly<ConnectProperties> = {
  sessionExpirySeconds: 0,
  receiveMaximum: 65_535, // [MQTT5 §3.1.2.11.3]
  maximumPacketSize: Number.POSITIVE_INFINITY,
  topicAliasMaximum: 0, // [MQTT5 3.1.2-27]
  requestResponseInformation: false,
  requestProblemInformation: true,
  authenticationMethod: undefined,
  authenticationData: undefined,
};

/** Checks and reads the properties of a CONNECT, from their length on, and leaves the reader behind them. */
export function scanConnectProperties(reader: Reader): Readonly<ConnectProperties> {
  const section = reader.section(reader.varint());
  if (section.isAtEnd) return noConnectProperties;
  const scan = new PropertyScan(section, PacketType.connect);
  const found = { ...noConnectProperties };
  while (scan.next()) take(scan, found);
  checkAuthentication(found.authenticationData !== undefined, found.authenticationMethod !== undefined);
  return found;
}

function take(scan: PropertyScan, found: ConnectProperties): void {
  switch (scan.name) {
    case 'sessionExpiryInterval':
      found.sessionExpirySeconds = scan.value;
      break;
    case 'receiveMaximum':
      found.receiveMaximum = scan.value;
      break;
    case 'maximumPacketSize':
      found.maximumPacketSize = scan.value;
      break;
    case 'topicAliasMaximum':
      found.topicAliasMaximum = scan.value;
      break;
    case 'requestResponseInformation':
      found.requestResponseInformation = scan.value === 1;
      break;
    case 'requestProblemInformation':
      found.requestProblemInformation = scan.value === 1;
      break;
    case 'authenticationMethod':
      found.authenticationMethod = scan.bytes().toString();
      break;
    case 'authenticationData':
      found.authenticationData = Buffer.from(scan.bytes());
      break;
    default: // user properties of a CONNECT concern nobody
  }
}

/** Maximum Packet Size in the properties of a CONNECT that is not checked, from their length on; Infinity without. @throws MqttError */
export function findMaximumPacketSize(reader: Reader): number {
  const end = reader.varint() + reader.position;
  const scan = new PropertyScan(new Reader(reader.buffer, reader.position, end), PacketType.connect);
  while (scan.next()) if (scan.name === 'maximumPacketSize') return scan.value;
  return Number.POSITIVE_INFINITY;
}
