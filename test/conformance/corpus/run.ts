/**
 * Plays a case over a socket of its own and says what came back, packet by packet. A PINGREQ behind the bytes tells a server that goes on
 * from one that is silent, so that nothing is waited for that does not come.
 */
import { connect, type Socket } from 'node:net';
import type { Case, Reaction } from './case.ts';

/** How the bytes reach the server: in one piece, or byte by byte. */
export type Manner = 'whole' | 'split';

const ANSWER_MILLISECONDS = 10_000;
const PARALLEL = 64;
/** Longer packets are split into this many pieces, not into bytes. */
const PIECES = 200;
const pingreq = Buffer.from([0xc0, 0]);
const goodbye = Buffer.from([0xe0, 0]);

const names = [
  ...['0', 'CONNECT', 'CONNACK', 'PUBLISH', 'PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP'],
  ...['SUBSCRIBE', 'SUBACK', 'UNSUBSCRIBE', 'UNSUBACK', 'PINGREQ', 'PINGRESP', 'DISCONNECT', 'AUTH'],
];

/** All cases, some at a time; returns a line for each that went wrong. */
export async function play(port: number, cases: readonly Case[], manner: Manner): Promise<string[]> {
  const failures: string[] = [];
  const left = cases.values();
  const worker = async (): Promise<void> => {
    for (const next of left) {
      const expected = { packets: [...next.before.flatMap(({ packets }) => packets), ...next.expect.packets] };
      const failure = difference(await new Player(port, next, manner).play(), { ...next.expect, ...expected });
      if (failure !== undefined) failures.push(`v${next.version} ${next.name} [${next.ids.join('] [')}]: ${failure}`);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  return failures;
}

/** Answers may overtake each other; a DISCONNECT is the last. */
function difference(actual: Reaction, expected: Reaction): string | undefined {
  const [got, wanted] = [actual, expected].map(({ end, packets }) => {
    const others = [...packets];
    const last = others.at(-1)?.startsWith('DISCONNECT') === true ? others.splice(-1) : [];
    return [...others.sort(), ...last, end].join(', ');
  });
  return got === wanted ? undefined : `got ${got}; expected ${wanted}`;
}

class Player {
  readonly #socket: Socket;
  readonly #case: Case;
  readonly #manner: Manner;
  #unread: Buffer = Buffer.alloc(0);
  readonly #packets: string[] = [];
  #isClosed = false;
  #changed: () => void = () => {};

  constructor(port: number, testCase: Case, manner: Manner) {
    this.#case = testCase;
    this.#manner = manner;
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (chunk) => this.#read(chunk));
    this.#socket.on('error', () => {}); // seen as a close
    this.#socket.on('close', () => {
      this.#isClosed = true;
      this.#changed();
    });
  }

  async play(): Promise<Reaction> {
    const { before, bytes, expect } = this.#case;
    let wanted = 0;
    for (const { packets, send, waits } of before) {
      await this.#write(send);
      wanted += packets.length;
      if (waits) await this.#until(() => this.#packets.length >= wanted);
    }
    await this.#write(Buffer.concat([bytes, pingreq]));
    wanted += expect.packets.length + 1;
    const isAlive = (): boolean => this.#packets.includes('PINGRESP');
    await this.#until(() => isAlive() && (expect.end === 'closed' || this.#packets.length >= wanted));
    if (this.#isClosed) return { packets: this.#packets, end: 'closed' };
    const end = isAlive() ? 'open' : 'closed';
    this.#socket.end(goodbye);
    await this.#until(() => false);
    this.#socket.destroy();
    const packets = [...this.#packets];
    if (end === 'open') packets.splice(packets.lastIndexOf('PINGRESP'), 1);
    return { packets: end === 'open' ? packets : [...packets, '(no answer)'], end };
  }

  async #write(bytes: Buffer): Promise<void> {
    if (this.#manner === 'whole') return void this.#socket.write(bytes);
    const step = Math.ceil(bytes.length / PIECES);
    for (let at = 0; at < bytes.length && !this.#isClosed; at += step) {
      this.#socket.write(bytes.subarray(at, at + step));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resolves when it is so, when the connection is closed, or when nothing more is to be expected. */
  async #until(isSo: () => boolean): Promise<void> {
    const deadline = Date.now() + ANSWER_MILLISECONDS;
    while (!isSo() && !this.#isClosed && Date.now() < deadline) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - Date.now());
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  #read(chunk: Buffer): void {
    let rest = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    for (let length = packetLength(rest); length > 0 && length <= rest.length; length = packetLength(rest)) {
      this.#packets.push(describePacket(rest.subarray(0, length), this.#case.version === 5));
      rest = rest.subarray(length);
    }
    this.#unread = rest;
    this.#changed();
  }
}

/** Length of the packet in front with its fixed header; 0 if that is not complete. */
function packetLength(bytes: Buffer): number {
  let length = 0;
  for (let i = 1; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0;
    length += (byte & 127) * 128 ** (i - 1);
    if (byte < 128) return i + 1 + length;
  }
  return 0;
}

/** CONNACK and DISCONNECT by their code, others by the bytes of their body, PUBLISH with its flags. */
function describePacket(packet: Buffer, isVersion5: boolean): string {
  const [first = 0] = packet;
  const name = names[first >> 4] ?? '?';
  let bodyStart = 1;
  while ((packet[bodyStart] ?? 0) >= 128) bodyStart++;
  const body = packet.subarray(bodyStart + 1);
  if (name === 'PINGRESP' && body.length === 0) return name;
  // Session Present is not asked for by any case, so it must be 0.
  if (name === 'CONNACK' && body[0] === 0) return `CONNACK ${code(body[1])}`;
  if (name === 'DISCONNECT' && isVersion5) return `DISCONNECT ${code(body[0])}`;
  if (name === 'PUBLISH') return `PUBLISH ${first & 15} ${body.toString('hex')}`;
  return `${name} ${body.toString('hex')}`;
}

function code(byte = 0): string {
  return `0x${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}
