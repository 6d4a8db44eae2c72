/** Round trips shared by many: one under way and one waiting serve any number of callers, and each caller's begins after its call. */
export class SharedRoundTrip<T> {
  readonly #make: () => Promise<T>;
  #running: Promise<T> | undefined;
  #next: Promise<T> | undefined;

  constructor(make: () => Promise<T>) {
    this.#make = make;
  }

  /** The result of a round trip that begins now or later. */
  begin(): Promise<T> {
    if (this.#running === undefined) {
      this.#running = this.#run();
      return this.#running;
    }
    const previous = this.#running;
    this.#next ??= previous.then(
      () => this.#run(),
      () => this.#run(),
    );
    return this.#next;
  }

  #run(): Promise<T> {
    const made = this.#make();
    const done = (): void => {
      this.#running = this.#next;
      this.#next = undefined;
    };
    made.then(done, done);
    return made;
  }
}
