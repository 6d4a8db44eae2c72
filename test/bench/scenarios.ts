/** What the benches let every server do: the arguments of mqttload, by the name under which docs/benchmarks.md has the table. */

export interface Scenario {
  readonly args: readonly string[];
  /** Every round meets a process that has just started: memory that an earlier round freed would be used again and not be seen. */
  readonly isFresh?: boolean;
}

const idle = ['conns', '-n', '10000', '--pending', '50'];

export const scenarios: Readonly<Record<string, Scenario>> = {
  fanout: { args: ['fanout', '--subs', '50', '--secs', '4', '--ahead', '2000'] },
  fanin: { args: ['fanin', '--pubs', '50', '--secs', '4', '--ahead', '5000'] },
  pair: { args: ['pair', '-n', '100', '--secs', '4', '--ahead', '20000'] },
  group: { args: ['group', '--subs', '4', '--secs', '4', '--ahead', '5000'] },
  latency: { args: ['latency', '--secs', '4'] },
  // Stored by supermq and nats-server (one replica, file), remembered by mosquitto and aedes.
  'pair-qos1': { args: ['pair', '-n', '100', '-q', '1', '--window', '20', '--secs', '4'] },
  'pair-qos2': { args: ['pair', '-n', '100', '-q', '2', '--window', '20', '--secs', '4'] },
  'latency-qos1': { args: ['latency', '-q', '1', '--secs', '4'] },
  session: { args: ['session', '-n', '200', '--count', '100'] },
  'session-2000': { args: ['session', '-n', '2000', '--count', '100', '--idle', '10'] },
  conns: { args: idle, isFresh: true },
  'conns-v5': { args: [...idle, '-V', '5'], isFresh: true },
};
