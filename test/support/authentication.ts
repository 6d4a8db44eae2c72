/** What the tests of authentication share: files of an operator, CONNECT with credentials, and the log of a node. */
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import type { Logger } from 'pino';
import { makeLog } from '../../src/log.ts';
import { startNode, type TestNode } from './node.ts';
import { type ConnectFields, RawClient, type Version } from './raw-client.ts';

/** A folder that is gone after the tests of the file. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-authentication-'));
  after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Replaces a file as an operator should: it is never seen half written. */
export function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** A node that is stopped after the test, however that ends. */
export async function nodeFor(t: TestContext, ...how: Parameters<typeof startNode>): Promise<TestNode> {
  const node = await startNode(...how);
  t.after(() => node.stop());
  return node;
}

export interface Login {
  readonly username?: string;
  readonly password?: string | Buffer;
  readonly clientId?: string;
}

function fieldsOf({ password, ...login }: Login, version: Version): ConnectFields {
  return {
    ...login,
    version,
    ...(password === undefined ? {} : { password: typeof password === 'string' ? Buffer.from(password) : password }),
  };
}

/** The code of the CONNACK; the client is gone afterwards. */
export async function codeFor(port: number, login: Login, version: Version = 5): Promise<number | undefined> {
  const client = await RawClient.connect(port, fieldsOf(login, version));
  const { reasonCode, returnCode } = client.connack;
  await client.end();
  return version === 5 ? reasonCode : returnCode;
}

/** A client that was accepted. */
export async function loggedIn(port: number, login: Login, version: Version = 5): Promise<RawClient> {
  const client = await RawClient.connect(port, fieldsOf(login, version));
  assert.equal(version === 5 ? client.connack.reasonCode : client.connack.returnCode, 0);
  return client;
}

export interface LogLine {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A log at level debug whose lines are kept. */
export function keptLog(): { log: Logger; lines: (event: string) => LogLine[]; text: () => string } {
  const written: string[] = [];
  const log = makeLog('debug', 'test', { write: (line: string) => void written.push(line) });
  const lines = (event: string): LogLine[] =>
    written.map((line) => JSON.parse(line) as LogLine).filter((line) => line.event === event);
  return { log, lines, text: () => written.join('') };
}
