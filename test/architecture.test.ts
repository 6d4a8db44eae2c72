/** Reads every import of src and fails on one that points the wrong way: the layering of docs/architecture.md, enforced. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../src', import.meta.url));

/** Files any layer may use. */
const shared = [
  'message.ts',
  'counters.ts',
  'clock.ts',
  'bounded-cache.ts',
  'noted-topics.ts',
  'own-memory.ts',
  'store-full.ts',
  'watched-file.ts',
];

/** What each folder may import besides itself and the shared files; a trailing `/` allows a folder, else one file. */
const allowed: Record<string, readonly string[]> = {
  access: ['mqtt/'],
  admin: [],
  admission: ['transport/listener.ts'],
  auth: ['access/rule.ts', 'mqtt/', 'transport/listener.ts'],
  broker: ['mqtt/'],
  config: [],
  connection: ['session/', 'broker/', 'access/', 'auth/', 'mqtt/', 'admission/', 'transport/listener.ts'],
  embedded: ['broker/overtaken.ts', 'broker/ports.ts', 'mqtt/topic.ts'],
  mqtt: [],
  nats: ['broker/overtaken.ts', 'broker/ports.ts', 'mqtt/topic.ts', 'mqtt/properties.ts'],
  node: [
    'access/',
    'admin/',
    'admission/',
    'auth/',
    'broker/',
    'config/',
    'connection/',
    'embedded/',
    'mqtt/',
    'nats/',
    'session/',
    'transport/',
    'log.ts',
  ],
  session: ['broker/ports.ts', 'mqtt/'],
  transport: [],
  workers: ['admin/', 'config/config.ts', 'config/limits-of-workers.ts'],
};

/** Packages with one place only. */
const packagePlaces: Record<string, RegExp> = {
  nats: /^nats\//,
  jose: /^auth\//,
  'mqtt-packet': /^mqtt\/codec\.ts$/,
  convict: /^config\//,
  yaml: /^(config|access)\//,
  ws: /^transport\//,
  'prom-client': /^admin\//,
  pino: /^(log\.ts|server\.ts|node\/|workers\/|main\.ts|admission\/|connection\/|nats\/)/,
};

interface Import {
  readonly from: string;
  readonly target: string;
}

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const imports = files.flatMap((from) => importsOf(from));

function importsOf(from: string): Import[] {
  const text = readFileSync(join(source, from), 'utf8');
  const targets = [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^'";]*?from\s+'([^']+)'|import\('([^']+)'\)|(?:^|\n)import\s+'([^']+)'/g,
    ),
  ];
  return targets.map((match) => ({ from, target: match[1] ?? match[2] ?? match[3] ?? '' }));
}

function isRelative({ target }: Import): boolean {
  return target.startsWith('.');
}

function resolved({ from, target }: Import): string {
  return relative('/', normalize(join('/', dirname(from), target)));
}

test('architecture - the scan sees the imports it is meant to check', () => {
  assert.ok(files.length > 30, `only ${files.length} files found`);
  assert.ok(imports.some(({ from, target }) => from === 'nats/bus.ts' && target === 'nats'));
  assert.ok(imports.some((entry) => entry.from === 'node/backplane.ts' && resolved(entry) === 'nats/backplane.ts'));
});

test('architecture - folders import only what lies below them', () => {
  for (const entry of imports.filter(isRelative)) {
    const [folder = '', rest] = entry.from.split('/');
    if (rest === undefined) continue;
    const target = resolved(entry);
    const may = allowed[folder];
    assert.ok(may !== undefined, `${folder}/ has no rule`);
    const isFine =
      target.startsWith(`${folder}/`) ||
      shared.includes(target) ||
      may.some((place) => (place.endsWith('/') ? target.startsWith(place) : target === place));
    assert.ok(isFine, `${entry.from} must not import ${target}`);
  }
});

test('architecture - the broker sees the outside through types of ports.ts only', () => {
  const ports = readFileSync(join(source, 'broker/ports.ts'), 'utf8');
  assert.doesNotMatch(ports, /export (const|function|class|let)/);
});

test('architecture - only server.ts and main.ts know everything', () => {
  for (const entry of imports.filter(isRelative)) {
    if (['server.ts', 'main.ts'].includes(resolved(entry)) || resolved(entry).startsWith('workers/')) {
      assert.ok(
        entry.from === 'main.ts' || entry.from.startsWith('workers/'),
        `${entry.from} must not import ${entry.target}`,
      );
    }
    if (shared.includes(entry.from) || entry.from === 'log.ts')
      assert.ok(shared.includes(resolved(entry)), `${entry.from} imports ${entry.target}`);
  }
});

test('architecture - packages stay in the folder they are for', () => {
  for (const { from, target } of imports.filter((entry) => !isRelative(entry) && !entry.target.startsWith('node:'))) {
    const place = packagePlaces[target];
    assert.ok(place?.test(from), `${from} must not import ${target}`);
  }
});

test('architecture - process.env belongs to config, process.exit to main', () => {
  for (const file of files) {
    const text = readFileSync(join(source, file), 'utf8');
    if (!file.startsWith('config/')) assert.doesNotMatch(text, /process\.env/, file);
    if (file !== 'main.ts') assert.doesNotMatch(text, /process\.exit/, file);
  }
});

test('architecture - no file imports itself through others', () => {
  const runtime = imports.filter((entry) => isRelative(entry) && !isTypeOnly(entry));
  const edges = new Map<string, string[]>();
  for (const entry of runtime) edges.set(entry.from, [...(edges.get(entry.from) ?? []), resolved(entry)]);
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    assert.ok(!path.includes(file), `cycle: ${[...path, file].join(' → ')}`);
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

/** `import type … from` is gone after compilation. */
function isTypeOnly({ from, target }: Import): boolean {
  const text = readFileSync(join(source, from), 'utf8');
  const statement = new RegExp(`import type [^;]*from '${target.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}'`);
  return statement.test(text);
}
