/**
 * Why a socket is not read: the bus, the log or the retained store takes messages more slowly than they come, all clients together have too
 * many waiting for the log, or the client publishes faster than it may. Bits: several can be true.
 */
export const PauseReason = { bus: 1, log: 2, retaining: 4, budget: 8, rate: 16 } as const;
