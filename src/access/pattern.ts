/**
 * A topic filter taken apart once, and how it relates to others: what it wholly covers, and what it meets at all. A topic name is the
 * pattern that nothing but itself matches, so that "matches a topic" is "covers its pattern". Nothing is normalised.
 */
import { levelsOverlap } from '../mqtt/topic.ts';

export class Pattern {
  readonly #levels: readonly string[];
  /** Its first level is a wildcard: it matches no topic that starts with `$`. [MQTT5 4.7.2-1] [MQTT311 4.7.2-1] */
  readonly #isOpen: boolean;
  readonly #hasDollar: boolean;

  /** `filter` is well formed, and without a group in front. */
  constructor(filter: string) {
    this.#levels = filter.split('/');
    this.#isOpen = filter.startsWith('+') || filter.startsWith('#');
    this.#hasDollar = filter.startsWith('$');
  }

  /** Whether every topic that `inner` matches matches this one too. */
  covers(inner: Pattern): boolean {
    if (this.#isOpen && inner.#hasDollar) return false;
    const [levels, others] = [this.#levels, inner.#levels];
    for (let i = 0; ; i++) {
      const [level, other] = [levels[i], others[i]];
      // Also one level short: `a/#` covers `a`.
      if (level === '#') return true;
      if (level === undefined || other === undefined) return level === other;
      if (other === '#') return isEverythingBelow(levels, others, i);
      if (level !== '+' && level !== other) return false;
    }
  }

  /** Whether some topic matches both. */
  overlaps(other: Pattern): boolean {
    if ((this.#isOpen && other.#hasDollar) || (other.#isOpen && this.#hasDollar)) return false;
    // All they have in common is the empty topic, which does not exist. [MQTT5 4.7.3-1] [MQTT311 4.7.3-1]
    if ((this.#isSingle && other.#isRootOnly) || (other.#isSingle && this.#isRootOnly)) return false;
    return levelsOverlap(this.#levels, other.#levels);
  }

  /** `+` */
  get #isSingle(): boolean {
    return this.#levels.length === 1 && this.#levels[0] === '+';
  }

  /** `/#` */
  get #isRootOnly(): boolean {
    return this.#levels.length === 2 && this.#levels[0] === '' && this.#levels[1] === '#';
  }
}

/**
 * Whether `+/#` in place of `#` at level `i` leaves nothing out. It would leave out the parent, which is a topic unless it is empty: every
 * topic has a first level.
 */
function isEverythingBelow(levels: readonly string[], others: readonly string[], i: number): boolean {
  if (levels[i] !== '+' || levels[i + 1] !== '#') return false;
  return i === 0 || (i === 1 && others[0] === '');
}
