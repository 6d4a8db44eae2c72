/** A store has no room for one more entry of its kind; everything that is there can be written on. Thrown by stores, answered to the client. */
export class StoreFullError extends Error {
  constructor(what: string) {
    super(`there is no room for another ${what}`);
    this.name = 'StoreFullError';
  }
}
