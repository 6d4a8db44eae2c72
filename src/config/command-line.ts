/** The arguments of the `supermq` command. */
import { parseArgs } from 'node:util';
import { type Config, ConfigError } from './config.ts';
import { type Environment, loadConfig } from './load.ts';
import { environmentHelp, printConfig } from './reference.ts';

/** What the command line asks for. */
export type Command =
  | { readonly kind: 'run'; readonly config: Config }
  | { readonly kind: 'print'; readonly text: string }
  | { readonly kind: 'provision'; readonly config: Config }
  | { readonly kind: 'scram-user'; readonly name: string }
  | { readonly kind: 'scram-secret' }
  | { readonly kind: 'password-user'; readonly name: string; readonly groups: readonly string[] };

const USAGE = `Usage: supermq [--config FILE]
       supermq provision [--config FILE]
       supermq scram-user NAME
       supermq scram-secret
       supermq password-user NAME [GROUP...]

  --config FILE    YAML file with options; see config/default.yaml
  --print-config   print the configuration that would be used, without secrets, and end
  --version        print the version and end
  --help           print this and end

  provision        make the streams that are missing in JetStream, and end
  scram-user NAME  read a password from standard input and print the line of auth.scram.file for that user
  scram-secret     print a line of auth.scram.file that makes names without a user look the same on all nodes
  password-user NAME [GROUP...]
                   as scram-user, for auth.password.file, with the groups of the user

Options come from the defaults, then the file, then these environment variables:

  SUPERMQ_CONFIG                                Configuration file, where --config cannot be given`;

/**
 * @throws ConfigError for an unknown argument or a configuration that cannot be used
 */
export function readCommandLine(args: readonly string[], version: string, env: Environment = process.env): Command {
  if (args[0] === 'scram-user') return scramUser(args.slice(1));
  if (args[0] === 'scram-secret') return scramSecret(args.slice(1));
  if (args[0] === 'provision') return provision(args.slice(1), env);
  if (args[0] === 'password-user') return passwordUser(args.slice(1));
  const { config: file, help, 'print-config': print, version: showVersion } = parse(args);
  if (help === true) return { kind: 'print', text: `${USAGE}\n${environmentHelp()}\n` };
  if (showVersion === true) return { kind: 'print', text: `${version}\n` };
  const config = loadConfig(file === undefined ? { env } : { env, file });
  return print === true ? { kind: 'print', text: printConfig(config) } : { kind: 'run', config };
}

function provision(args: readonly string[], env: Environment): Command {
  const { config: file, ...others } = parse(args);
  if (Object.keys(others).length > 0) throw new ConfigError(['provision takes --config only. See supermq --help.']);
  const config = loadConfig(file === undefined ? { env } : { env, file });
  if (config.nats.servers.length > 0) return { kind: 'provision', config };
  throw new ConfigError(['provision needs NATS: set nats.servers (SUPERMQ_NATS_SERVERS).']);
}

function scramUser([name, ...rest]: readonly string[]): Command {
  if (name === undefined || name.startsWith('-') || rest.length > 0)
    throw new ConfigError(['scram-user needs the name of one user. See supermq --help.']);
  return { kind: 'scram-user', name };
}

function scramSecret(rest: readonly string[]): Command {
  if (rest.length > 0) throw new ConfigError(['scram-secret takes no arguments. See supermq --help.']);
  return { kind: 'scram-secret' };
}

function passwordUser([name, ...groups]: readonly string[]): Command {
  if (name === undefined || [name, ...groups].some((word) => word.startsWith('-')))
    throw new ConfigError(['password-user needs the name of one user, and perhaps groups. See supermq --help.']);
  return { kind: 'password-user', name, groups };
}

interface Arguments {
  readonly config?: string | undefined;
  readonly help?: boolean | undefined;
  readonly version?: boolean | undefined;
  readonly 'print-config'?: boolean | undefined;
}

function parse(args: readonly string[]): Arguments {
  try {
    const options = {
      config: { type: 'string' },
      help: { type: 'boolean' },
      version: { type: 'boolean' },
      'print-config': { type: 'boolean' },
    } as const;
    return parseArgs({ args: [...args], options, strict: true }).values;
  } catch (cause) {
    throw new ConfigError([`${cause instanceof Error ? cause.message : String(cause)} See supermq --help.`]);
  }
}
