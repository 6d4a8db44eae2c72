/** How many connections of one user this node has. Bounded by the connections of the node; anonymous clients are nobody's. */
export class UserLimit {
  readonly #maximum: number;
  readonly #connections = new Map<string, number>();

  /** 0 = no limit. */
  constructor(maximum: number) {
    this.#maximum = maximum;
  }

  get isOn(): boolean {
    return this.#maximum > 0;
  }

  /** Whether the user may have one more connection, which is counted until {@link left}. */
  enters(username: string): boolean {
    const count = this.#connections.get(username) ?? 0;
    if (count >= this.#maximum) return false;
    this.#connections.set(username, count + 1);
    return true;
  }

  left(username: string): void {
    const count = this.#connections.get(username) ?? 0;
    if (count > 1) this.#connections.set(username, count - 1);
    else this.#connections.delete(username);
  }
}
