/**
 * Secrets from files, as container platforms hand them out: for every secret option there is `keyFile` in the configuration file and
 * `NAME_FILE` in the environment, each with the path of a file that holds the value.
 */
import { readFileSync, statSync } from 'node:fs';
import type { Option } from './options/option.ts';
import { schema } from './schema.ts';

const LONGEST_BYTES = 64 * 1024;

const secrets = schema.filter(({ isSecret }) => isSecret);
const byFileKey = new Map(secrets.map((option) => [secretFileKey(option), option]));
const byFileEnv = new Map(secrets.map((option) => [secretFileEnv(option), option]));

/** The key under which a configuration file names the file of a secret. */
export function secretFileKey({ key }: Option): string {
  return `${key}File`;
}

/** The environment variable that does. */
export function secretFileEnv({ env }: Option): string {
  return `${env}_FILE`;
}

/** The secret whose file this key or environment variable names; undefined for other names. */
export function secretOfFile(name: string): Option | undefined {
  return byFileKey.get(name) ?? byFileEnv.get(name);
}

/** All names of files of secrets, for suggestions. */
export const secretFileNames: readonly string[] = [...byFileKey.keys(), ...byFileEnv.keys()];

/** The value, or what is wrong with the file, as the end of a sentence. */
export function readSecret(path: unknown): { readonly value: string } | { readonly problem: string } {
  if (typeof path !== 'string') return { problem: 'must be the path of a file' };
  try {
    if (statSync(path).size > LONGEST_BYTES)
      return { problem: `is ${path}, which has more than ${LONGEST_BYTES} bytes` };
    // Editors and `echo` end a file with a line feed; it is no part of a password.
    const value = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
    return value === '' ? { problem: `is ${path}, which is empty` } : { value };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    return { problem: `is ${path}, which cannot be read${code}: check the path and its permissions` };
  }
}
