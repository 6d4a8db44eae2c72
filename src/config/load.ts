/**
 * Defaults, then the file, then the environment → one checked Config. Every problem is found before the start is refused, and
 * each is a sentence: which key, from where, which value, what is allowed. The only folder that reads process.env.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import convict from 'convict';
import { parse, YAMLParseError } from 'yaml';
import { type Config, ConfigError } from './config.ts';
import { findConflicts } from './conflicts.ts';
import { FormatError } from './formats.ts';
import type { Option } from './options/option.ts';
import { schema } from './schema.ts';
import { readSecret, secretFileEnv, secretFileKey, secretFileNames, secretOfFile } from './secret-files.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface LoadOptions {
  /** Default: the environment of this process. */
  readonly env?: Environment;
  /** YAML or JSON; default: the file that SUPERMQ_CONFIG names, if any. */
  readonly file?: string | undefined;
}

/** Names the configuration file where `--config` cannot be given. */
export const CONFIG_VARIABLE = 'SUPERMQ_CONFIG';
const PREFIX = 'SUPERMQ_';

const byKey = new Map(schema.map((option) => [option.key, option]));
const byEnv = new Map(schema.map((option) => [option.env, option]));

/**
 * @throws ConfigError with all problems found
 */
export function loadConfig({ env = process.env, file = env[CONFIG_VARIABLE] }: LoadOptions = {}): Config {
  const problems: string[] = [];
  const config = convict(convictSchema());
  const findings: Findings = { problems, take: (option, value) => config.set(option.key, value) };
  if (file !== undefined && file !== '') readFile(file, findings);
  readEnvironment(env, findings);
  config.validate({ allowed: 'strict' });
  const loaded = withName(config.getProperties() as unknown as Config);
  problems.push(...findConflicts(loaded));
  if (problems.length > 0) throw new ConfigError(problems);
  return freeze(loaded);
}

/** Where readers leave what they find. */
interface Findings {
  readonly problems: string[];
  take(option: Option, value: unknown): void;
}

/** Our formats have read each value already; convict keeps keys, defaults and their merging. */
function convictSchema(): convict.Schema<Record<string, unknown>> {
  const root: Record<string, unknown> = {};
  for (const { default: fallback, doc, env, format, isSecret, key } of schema) {
    const path = key.split('.');
    const last = path.pop() ?? key;
    let place = root;
    for (const name of path) {
      place[name] ??= {};
      place = place[name] as Record<string, unknown>;
    }
    place[last] = {
      doc,
      default: fallback,
      format: (value: unknown) => void format.read(value),
      sensitive: isSecret,
      variable: env,
    };
  }
  return root as convict.Schema<Record<string, unknown>>;
}

function readFile(path: string, findings: Findings): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    findings.problems.push(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
    return;
  }
  const content = parseYaml(text, path, findings);
  if (isRecord(content)) readSection(content, { prefix: '', path }, findings);
  else if (content !== undefined) {
    findings.problems.push(`${path} must contain keys and values, as in config/default.yaml.`);
  }
}

/** Undefined when it is no YAML. Only code and place are told: the parser's own text may quote a secret. */
function parseYaml(text: string, path: string, { problems }: Findings): unknown {
  try {
    return parse(text) ?? {};
  } catch (error) {
    const place = error instanceof YAMLParseError ? ` (${error.code}, line ${error.linePos?.[0].line ?? 1})` : '';
    problems.push(`${path} is not valid YAML${place}.`);
    return undefined;
  }
}

function readSection(section: object, at: { prefix: string; path: string }, findings: Findings): void {
  const values = new Map(Object.entries(section).map(([name, value]) => [at.prefix + name, value]));
  for (const [key, value] of values) {
    const option = byKey.get(key);
    const isSection = schema.some((candidate) => candidate.key.startsWith(`${key}.`));
    // A key or a section without a value, all its lines commented out, says nothing.
    if ((option !== undefined || isSection) && value === null) continue;
    const secret = secretOfFile(key);
    if (option !== undefined) readValue(option, value, `${key} in ${at.path}`, findings);
    else if (secret !== undefined) {
      const source = `${key} in ${at.path}`;
      readSecretFile(secret, value, { source, isTwice: isSet(values.get(secret.key)) }, findings);
    } else if (isSection && isRecord(value)) readSection(value, { prefix: `${key}.`, path: at.path }, findings);
    else
      findings.problems.push(
        `${key} in ${at.path} is not an option${suggestion(key, [...byKey.keys(), ...secretFileNames])}.`,
      );
  }
}

function readEnvironment(env: Environment, findings: Findings): void {
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(PREFIX) || name === CONFIG_VARIABLE) continue;
    if (value === undefined || value === '' || isServiceLink(name, value)) continue;
    const option = byEnv.get(name);
    const secret = secretOfFile(name);
    if (option !== undefined) readValue(option, value, `${option.key} from ${name}`, findings);
    else if (secret !== undefined) {
      readSecretFile(secret, value, { source: name, isTwice: isSet(env[secret.env]) }, findings);
    } else {
      const hint = suggestion(name, [...byEnv.keys(), ...secretFileNames]);
      findings.problems.push(`The environment variable ${name} is not an option${hint}.`);
    }
  }
}

/** Kubernetes puts the addresses of a Service called `supermq…` into the environment of every pod beside it. */
function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$/.test(name)) return true;
  return name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value);
}

function readValue(option: Option, value: unknown, source: string, findings: Findings): void {
  try {
    findings.take(option, option.format.read(value));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const is = option.isSecret
      ? 'has a value that is not shown here'
      : `is ${withoutCredentials(JSON.stringify(value))}`;
    findings.problems.push(`${source} ${is}, but must be ${option.format.allowed}.`);
  }
}

/** `isTwice`: the same source says the secret itself too. */
function readSecretFile(
  option: Option,
  path: unknown,
  { isTwice, source }: { source: string; isTwice: boolean },
  findings: Findings,
): void {
  if (path === '' || path === null) return;
  const read = readSecret(path);
  if (isTwice)
    findings.problems.push(
      `${option.key} is set itself and by a file (${secretFileKey(option)} or ${secretFileEnv(option)}): remove one of them.`,
    );
  else if ('problem' in read) findings.problems.push(`${source} ${read.problem}.`);
  else readValue(option, read.value, `${option.key} from the file of ${source}`, findings);
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '';
}

function withoutCredentials(text: string): string {
  return text.replace(/\/\/[^@/\s]*@/g, '//[redacted]@');
}

/** A node without a name gets one. */
function withName(config: Config): Config {
  if (config.node.id !== '') return config;
  return { ...config, node: { id: `${hostname()}-${randomBytes(3).toString('hex')}` } };
}

/** The nearest name, when one is near. */
function suggestion(name: string, known: readonly string[]): string {
  const [best] = known
    .map((candidate) => ({ candidate, distance: distance(name, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  return best !== undefined && best.distance <= 3 ? ` (did you mean ${best.candidate}?)` : '';
}

/** Levenshtein's. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const part of Object.values(value)) freeze(part);
  return Object.freeze(value);
}
