/** Heap snapshots of V8, added up by what the objects are: `idle.ts` compares two of them. */

interface Sum {
  number: number;
  bytes: number;
}

/** By kind of object. */
export type Kinds = ReadonlyMap<string, Sum>;

interface Snapshot {
  readonly snapshot: {
    readonly meta: { readonly node_fields: string[]; readonly node_types: [string[], ...unknown[]] };
  };
  readonly nodes: number[];
  readonly strings: string[];
}

/** These have names of their own, which say nothing: strings, numbers, compiled code. */
const NAMELESS = new Set(['array', 'code', 'string', 'concatenated string', 'sliced string', 'number', 'object shape']);

/** Adds up a snapshot, given as the text of its file. */
export function kindsOf(text: string): Kinds {
  const { nodes, snapshot, strings } = JSON.parse(text) as Snapshot;
  const { node_fields: fields, node_types: types } = snapshot.meta;
  const [typeAt, nameAt, sizeAt] = [fields.indexOf('type'), fields.indexOf('name'), fields.indexOf('self_size')];
  const kinds = new Map<string, Sum>();
  for (let at = 0; at < nodes.length; at += fields.length) {
    const kind = kindOf(types[0][nodes[at + typeAt] ?? 0] ?? '', strings[nodes[at + nameAt] ?? 0] ?? '');
    const sum = kinds.get(kind) ?? { number: 0, bytes: 0 };
    sum.number++;
    sum.bytes += nodes[at + sizeAt] ?? 0;
    kinds.set(kind, sum);
  }
  return kinds;
}

function kindOf(type: string, name: string): string {
  return NAMELESS.has(type) ? type : `${type} ${name}`;
}

/** What came in between, per connection, the largest first. */
export function difference(before: Kinds, after: Kinds, connections: number): Array<Sum & { readonly kind: string }> {
  const rows = [...after].map(([kind, { bytes, number }]) => {
    const was = before.get(kind) ?? { number: 0, bytes: 0 };
    return { kind, number: (number - was.number) / connections, bytes: (bytes - was.bytes) / connections };
  });
  return rows.sort((a, b) => b.bytes - a.bytes);
}
