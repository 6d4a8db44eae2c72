/** The root logger. Objects carry `event: 'area.happened'`; payloads, passwords and tokens are never logged. */
import { type DestinationStream, type Logger, pino } from 'pino';

/** Fields that never reach a log line, wherever they stand in a logged object. */
const SECRET_FIELDS = [
  'password',
  'token',
  'payload',
  'authenticationData',
  '*.password',
  '*.token',
  '*.payload',
  '*.authenticationData',
];

/** `level` is a pino level or `silent`; lines go to `destination` or standard output as JSON. */
export function makeLog(level: string, nodeId: string, destination?: DestinationStream): Logger {
  const options = { level, base: { node: nodeId }, redact: SECRET_FIELDS, timestamp: pino.stdTimeFunctions.isoTime };
  return destination === undefined ? pino(options) : pino(options, destination);
}
