/** The options as documentation: the table of docs/configuration.md, config/default.yaml, and the text of `--help`. */
import { stringify } from 'yaml';
import type { Config } from './config.ts';
import { limitsOfWorkers } from './limits-of-workers.ts';
import type { Option } from './options/option.ts';
import { schema } from './schema.ts';
import { secretFileEnv, secretFileKey } from './secret-files.ts';

/** Stands for a secret that is set. */
const REDACTED = '[redacted]';

/** Markdown table with a line per option. */
export function configurationTable(): string {
  const rows = schema.map((option) => {
    const { doc, format } = option;
    const [keys, variables] = [keysOf(option), variablesOf(option)].map((names) => names.map((name) => `\`${name}\``));
    return `| ${keys?.join(', ')} | ${variables?.join(', ')} | ${shownDefault(option)} | ${format.allowed} | ${doc} |`;
  });
  return ['| key | environment | default | allowed | meaning |', '|---|---|---|---|---|', ...rows].join('\n');
}

/** A configuration file with every option at its default, each explained. */
export function defaultYaml(): string {
  const lines = ['# Every option with its default. A file needs only what differs; environment variables win over it.'];
  let open: string[] = [];
  for (const option of schema) {
    const path = option.key.split('.');
    const name = path.pop() ?? '';
    const shared = path.findIndex((part, i) => part !== open[i]);
    for (let depth = shared < 0 ? path.length : shared; depth < path.length; depth++)
      lines.push(`${'  '.repeat(depth)}${path[depth]}:`);
    open = path;
    const indent = '  '.repeat(path.length);
    lines.push(
      `${indent}# ${option.doc}`,
      `${indent}# ${option.env}: ${option.format.allowed}`,
      ...(option.isSecret ? [`${indent}# or from a file: ${name}File, ${secretFileEnv(option)}`] : []),
      `${indent}${name}: ${JSON.stringify(option.default)}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

function keysOf(option: Option): string[] {
  return option.isSecret ? [option.key, secretFileKey(option)] : [option.key];
}

function variablesOf(option: Option): string[] {
  return option.isSecret ? [option.env, secretFileEnv(option)] : [option.env];
}

/** What `--help` shows below the usage lines. */
export function environmentHelp(): string {
  return schema
    .map(
      (option) =>
        `  ${option.env.padEnd(46)}${option.doc}\n${' '.repeat(48)}${option.key}, default ${shownDefault(option).replaceAll('`', '')}${option.isSecret ? `; ${secretFileEnv(option)} names a file with it` : ''}`,
    )
    .join('\n');
}

/** The configuration in use as YAML; secrets that are set are not shown, nor is what stands before the host in a URL. */
export function printConfig(config: Config): string {
  const shown = structuredClone(config) as unknown as Record<string, unknown>;
  for (const { isSecret, key } of schema) if (isSecret) redact(shown, key.split('.'));
  return stringify(shown).replace(/\/\/[^@/\s]*@/g, `//${REDACTED}@`) + noteOnWorkers(config);
}

/** Comments: what was printed stays a configuration file. */
function noteOnWorkers(config: Config): string {
  if (config.workers === 1) return '';
  const lines = Object.entries(limitsOfWorkers(config)).map(([name, sum]) => `#   ${name}: ${sum}`);
  const head = `# Each of the ${config.workers} workers has the limits above for itself. All of them together allow up to`;
  return `${[head, ...lines].join('\n')}\n`;
}

function redact(section: Record<string, unknown>, [name = '', ...rest]: readonly string[]): void {
  const value = section[name];
  if (rest.length > 0) redact(value as Record<string, unknown>, rest);
  else if (value !== '') section[name] = REDACTED;
}

function shownDefault({ default: value }: Option): string {
  if (value === '' || (Array.isArray(value) && value.length === 0)) return 'empty';
  return `\`${String(value)}\``;
}
