/** What the end of a connection means: the last packet to the client, its will, its session, its claim. connection.ts says when. */
import { encodeDisconnect } from '../mqtt/codec.ts';
import { type MqttError, type ReasonCode, RedirectError } from '../mqtt/reason.ts';
import { publishWill } from '../session/will.ts';
import type { Connection } from './connection.ts';

/** DISCONNECT with the reason, and where else to go. */
export function lastWords({ sender }: Connection, reason: ReasonCode, error: MqttError | undefined): Buffer {
  const reference = error instanceof RedirectError ? error.serverReference : undefined;
  return encodeDisconnect(reason, error?.message, sender.maximumPacketSize, reference);
}

/** The will first, then the session: who asks for the client finds both written. [MQTT5 3.1.2-8] [MQTT311 3.1.2-8] */
export async function giveBack(connection: Connection, publishesWill: boolean): Promise<void> {
  const { heldWill, node, sessionIfMade: session, will } = connection;
  connection.will = undefined;
  connection.heldWill = undefined;
  try {
    if (heldWill !== undefined) await node.sessions?.endWill(heldWill, session, publishesWill);
    else if (will !== undefined && publishesWill) void publishWill(will, '', node);
    if (session !== undefined) await node.sessions?.close(session);
  } catch (error) {
    connection.log.error({ event: 'session.closeFailed', err: error }, 'A session could not be written at its end');
  } finally {
    connection.client?.claim.release();
  }
}
