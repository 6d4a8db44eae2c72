/** What the server's decoder has understood, as a packet again: decoding that has to give the same. */
import type { AuthPacket, ClientPacket, ConnectPacket, WillDefinition } from '../../src/mqtt/packet.ts';
import { bytes, packet, property, props, str, u16, varint } from '../unit/mqtt/bytes.ts';
import type { Version } from './samples.ts';

export function encodePacket(version: Version, decoded: ConnectPacket | ClientPacket): Buffer {
  const isFive = version === 5;
  const block = (...parts: Buffer[]): Buffer => (isFive ? props(...parts) : bytes());
  switch (decoded.cmd) {
    case 'connect':
      return encodeConnect(decoded);
    case 'subscribe': {
      const id = decoded.subscriptionIdentifier;
      const requests = decoded.requests.map(({ filter, noLocal, qos, retainAsPublished, retainHandling }) =>
        bytes(str(filter), qos | (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0) | (retainHandling << 4)),
      );
      return packet(
        0x82,
        u16(decoded.packetId),
        block(id === 0 ? bytes() : property.subscriptionIdentifier(id)),
        ...requests,
      );
    }
    case 'unsubscribe':
      return packet(0xa2, u16(decoded.packetId), block(), ...decoded.filters.map((filter) => str(filter)));
    case 'pingreq':
      return packet(0xc0);
    case 'disconnect': {
      const seconds = decoded.sessionExpirySeconds;
      if (!isFive) return packet(0xe0);
      return packet(0xe0, decoded.reasonCode, props(seconds === undefined ? bytes() : property.sessionExpiry(seconds)));
    }
    case 'auth':
      return packet(0xf0, decoded.reasonCode, authProperties(decoded));
  }
}

function encodeConnect(connect: ConnectPacket): Buffer {
  const { authenticationData, password, username, version, will } = connect;
  const flags =
    (connect.cleanStart ? 2 : 0) |
    (will === undefined ? 0 : 4 | (will.qos << 3) | (will.retain ? 0x20 : 0)) |
    (password === undefined ? 0 : 0x40) |
    (username === undefined ? 0 : 0x80);
  return packet(
    0x10,
    str(version === 3 ? 'MQIsdp' : 'MQTT'),
    version,
    flags,
    u16(connect.keepAliveSeconds),
    version === 5 ? connectProperties(connect, authenticationData) : bytes(),
    str(connect.clientId),
    will === undefined ? bytes() : encodeWill(will, version),
    username === undefined ? bytes() : str(username),
    password === undefined ? bytes() : str(password),
  );
}

function encodeWill({ delaySeconds, payload, properties, topic }: WillDefinition, version: number): Buffer {
  const delay = delaySeconds === 0 ? bytes() : property.willDelay(delaySeconds);
  const block = bytes(varint(delay.length + properties.length), delay, properties);
  return bytes(version === 5 ? block : bytes(), str(topic), str(payload));
}

function connectProperties(connect: ConnectPacket, data: Buffer | undefined): Buffer {
  const { authenticationMethod: method, maximumPacketSize: size } = connect;
  return props(
    property.sessionExpiry(connect.sessionExpirySeconds),
    property.receiveMaximum(connect.receiveMaximum),
    property.topicAliasMaximum(connect.topicAliasMaximum),
    property.requestResponseInformation(connect.requestResponseInformation ? 1 : 0),
    property.requestProblemInformation(connect.requestProblemInformation ? 1 : 0),
    Number.isFinite(size) ? property.maximumPacketSize(size) : bytes(),
    method === undefined ? bytes() : property.authenticationMethod(method),
    data === undefined ? bytes() : property.authenticationData(data),
  );
}

function authProperties({ authenticationData: data, authenticationMethod: method }: AuthPacket): Buffer {
  return props(
    property.authenticationMethod(method ?? ''),
    data === undefined ? bytes() : property.authenticationData(data),
  );
}
