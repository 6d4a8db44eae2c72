/**
 * Topic names and topic filters (MQTT 5 section 4.7): what is well formed, what matches, and the two spellings of
 * consumer groups. Pure text; how topics become subjects is nats/subject.ts.
 */

const MAX_BYTES = 65_535;
/** `$g` names are short by rule; they are counted in characters. */
const MAX_G_NAME = 9;

/** A filter as a client wrote it, taken apart. */
export interface ParsedFilter {
  /** Name of the consumer group, undefined for an ordinary subscription. */
  readonly group: string | undefined;
  readonly filter: string;
}

/** A name to publish to. [MQTT5 3.3.2-2] [MQTT5 4.7.3-1] [MQTT5 4.7.3-2] [MQTT5 4.7.3-3] and the same of MQTT311 */
export function isTopicName(name: string): boolean {
  return name !== '' && !/[+#\0]/.test(name) && Buffer.byteLength(name) <= MAX_BYTES;
}

/** A level with `+` and something else in it. Levels are not split for it: a filter may have 32,768 of them. */
const besidePlus = /[^/]\+|\+[^/]/;

/** A pattern to subscribe to, without looking at `$share` or `$g`. [MQTT5 4.7.1-1] [MQTT5 4.7.1-2] [MQTT311 4.7.1-2] [MQTT311 4.7.1-3] */
export function isTopicFilter(filter: string): boolean {
  if (filter === '' || filter.includes('\0') || Buffer.byteLength(filter) > MAX_BYTES) return false;
  if (!hasWildcard(filter)) return true;
  const hash = filter.indexOf('#');
  if (hash >= 0 && (hash !== filter.length - 1 || (hash > 0 && filter[hash - 1] !== '/'))) return false;
  return !besidePlus.test(filter);
}

/** Whether a well-formed filter can match more than one topic. */
export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}

/** How long the topics and topic filters of clients may be. */
export interface TopicLimits {
  readonly maximumTopicBytes: number;
  readonly maximumTopicLevels: number;
}

/** The limit that a topic name or topic filter is above, called like its option; undefined: it is fine. */
export function topicExcess(text: string, limits: TopicLimits): 'maxTopicBytes' | 'maxTopicLevels' | undefined {
  if (text.length > limits.maximumTopicBytes || Buffer.byteLength(text) > limits.maximumTopicBytes)
    return 'maxTopicBytes';
  let levels = 1;
  for (let slash = text.indexOf('/'); slash >= 0; slash = text.indexOf('/', slash + 1)) levels++;
  return levels > limits.maximumTopicLevels ? 'maxTopicLevels' : undefined;
}

/** Undefined for whatever is no legal filter; a misspelt group is never an ordinary topic. [MQTT5 4.8.2-1] [MQTT5 4.8.2-2] */
export function parseFilter(text: string): ParsedFilter | undefined {
  const first = firstLevel(text);
  if (first === '$share') return parseGroup(text, first, isShareName);
  if (first === '$g') return parseGroup(text, first, isGName);
  return isTopicFilter(text) ? { group: undefined, filter: text } : undefined;
}

function parseGroup(text: string, marker: string, isName: (name: string) => boolean): ParsedFilter | undefined {
  const nameStart = marker.length + 1;
  const nameEnd = text.indexOf('/', nameStart);
  if (nameEnd < 0) return undefined;
  const group = text.slice(nameStart, nameEnd);
  const filter = text.slice(nameEnd + 1);
  const isNested = ['$share', '$g'].includes(firstLevel(filter));
  return isName(group) && !isNested && isTopicFilter(filter) ? { group, filter } : undefined;
}

function isShareName(name: string): boolean {
  return name !== '' && !/[+#\0]/.test(name);
}

function isGName(name: string): boolean {
  return name !== '' && !/[#\0]/.test(name) && [...name].length <= MAX_G_NAME;
}

/** What stands before the first `/`, which may be nothing. */
export function firstLevel(text: string): string {
  const slash = text.indexOf('/');
  return slash < 0 ? text : text.slice(0, slash);
}

/** Whether the first level of a well-formed filter is a wildcard: such filters see no topic that starts with `$`. */
export function startsWithWildcard(filter: string): boolean {
  return filter.startsWith('#') || filter.startsWith('+');
}

/** Whether a message on `topic` is for a subscription to `filter`; both are well formed. Nothing is normalised. [MQTT5 4.7.3-4] [MQTT311 4.7.3-4] */
export function topicMatches(filter: string, topic: string): boolean {
  if (filter === topic) return true;
  // [MQTT5 4.7.2-1] [MQTT311 4.7.2-1]
  if (!hasWildcard(filter) || (topic.startsWith('$') && startsWithWildcard(filter))) return false;
  return levelsMatch(filter.split('/'), topic.split('/'));
}

function levelsMatch(filter: readonly string[], topic: readonly string[]): boolean {
  for (const [index, level] of filter.entries()) {
    // also one level short: `sport/#` matches `sport`
    if (level === '#') return true;
    if (index >= topic.length) return false;
    if (level !== '+' && level !== topic[index]) return false;
  }
  return filter.length === topic.length;
}

/** Whether some topic matches both filters; both are well formed. */
export function filtersOverlap(a: string, b: string): boolean {
  if (a === b) return true;
  // [MQTT5 4.7.2-1] [MQTT311 4.7.2-1]
  if ((a.startsWith('$') && startsWithWildcard(b)) || (b.startsWith('$') && startsWithWildcard(a))) return false;
  // all they have in common is the empty topic, which does not exist [MQTT5 4.7.3-1] [MQTT311 4.7.3-1]
  if ((a === '+' && b === '/#') || (a === '/#' && b === '+')) return false;
  return levelsOverlap(a.split('/'), b.split('/'));
}

/** The same for filters taken apart, without a look at `$` in front; `+` and `/#` overlap here. */
export function levelsOverlap(a: readonly string[], b: readonly string[]): boolean {
  for (let i = 0; ; i++) {
    const [levelA, levelB] = [a[i], b[i]];
    if (levelA === '#' || levelB === '#') return true;
    if (levelA === undefined || levelB === undefined) return levelA === levelB;
    if (levelA !== '+' && levelB !== '+' && levelA !== levelB) return false;
  }
}
