/** What comes from a trusted balancer is no PROXY header. */
export class ProxyHeaderError extends Error {
  constructor(text: string) {
    super(text);
    this.name = 'ProxyHeaderError';
  }
}
