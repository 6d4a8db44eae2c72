/**
 * Topics on which a client gets retained messages live while what was retained before is still read for it: an older message must not follow.
 */

/** Beyond this many, further ones are not noted; only a reader of very many topics that all change meanwhile gets there. */
const MAXIMUM_TOPICS = 65_536;

export class NotedTopics {
  #topics: Set<string> | undefined;

  note(topic: string): void {
    this.#topics ??= new Set();
    if (this.#topics.size < MAXIMUM_TOPICS) this.#topics.add(topic);
  }

  has(topic: string): boolean {
    return this.#topics?.has(topic) === true;
  }
}
