/** Options of the process and its life. */
import { boolean, choice, integer, processCount, serverReferences, text } from '../formats.ts';
import { type Option, option } from './option.ts';

export const node: readonly Option[] = [
  option(
    'node.id',
    'NODE_ID',
    text('a name without white space of at most 64 characters', /^\S{0,64}$/),
    '',
    'Unique name of this node; empty = host name and a random suffix.',
  ),
  option(
    'log.level',
    'LOG_LEVEL',
    choice('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    'info',
    'Least severe level that is logged.',
  ),
  option(
    'workers',
    'WORKERS',
    processCount(64),
    1,
    'Processes that share the listeners, each a node of its own with all limits for itself; auto = one per core.',
  ),
  option(
    'leaseSeconds',
    'LEASE_SECONDS',
    integer(5, 300, 'seconds'),
    15,
    'How long a silent node is still believed alive; a node that has been without NATS for as long closes its clients.',
  ),
  option(
    'drainSeconds',
    'DRAIN_SECONDS',
    integer(1, 300, 'seconds'),
    10,
    'Longest time that a stopping node takes to write sessions and to settle messages.',
  ),
];

export const drain: readonly Option[] = [
  option(
    'drain.serverReference',
    'DRAIN_SERVER_REFERENCE',
    serverReferences,
    [],
    'Servers (`host` or `host:port`) that a stopping node sends its MQTT 5 clients to; empty = it only says that it stops.',
  ),
  option(
    'drain.permanent',
    'DRAIN_PERMANENT',
    boolean,
    false,
    'The servers of `drain.serverReference` are to be used for good (0x9D), not only this time (0x9C).',
  ),
];
