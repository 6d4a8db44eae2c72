/** What tokens and services say of a user, read with care: it comes from outside. */

const MAXIMUM_GROUPS = 1_000;
const MAXIMUM_GROUP_CHARACTERS = 256;

/** None where nothing is said; undefined when it is no list of names. */
export function readGroups(value: unknown): readonly string[] | undefined {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > MAXIMUM_GROUPS) return undefined;
  return value.every((name) => typeof name === 'string' && name !== '' && name.length <= MAXIMUM_GROUP_CHARACTERS)
    ? value
    : undefined;
}
