/** How often something has happened to each of many names within a window of time; a bounded number of names, see {@link RecentMap}. */
import { RecentMap } from './recent-map.ts';

/** The window begins with the first occurrence. */
interface Window {
  readonly endsAt: number;
  count: number;
}

export class Occurrences {
  readonly #windows: RecentMap<Window>;
  readonly #milliseconds: number;

  constructor(windowSeconds: number, capacity: number) {
    this.#windows = new RecentMap(capacity);
    this.#milliseconds = windowSeconds * 1000;
  }

  /** Notes one, and says how many that makes. */
  add(name: string, now: number): number {
    const known = this.#windows.get(name);
    if (known !== undefined && now < known.endsAt) return ++known.count;
    this.#windows.set(name, { endsAt: now + this.#milliseconds, count: 1 });
    return 1;
  }

  forget(name: string): void {
    this.#windows.delete(name);
  }
}
