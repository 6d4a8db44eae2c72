/** One option of the configuration, and how the lists beside this file make them. */
import { type Format, text } from '../formats.ts';

export interface Option {
  /** Dotted path in the configuration file. */
  readonly key: string;
  readonly env: string;
  readonly default: unknown;
  readonly format: Format<unknown>;
  /** One sentence, with the unit. */
  readonly doc: string;
  /** Never printed. */
  readonly isSecret: boolean;
}

export function option<T>(key: string, env: string, format: Format<T>, fallback: T, doc: string): Option {
  return { key, env: `SUPERMQ_${env}`, format, default: fallback, doc, isSecret: false };
}

export function secret(key: string, env: string, doc: string): Option {
  return { ...option(key, env, text(), '', doc), isSecret: true };
}

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
