/**
 * Why a socket is not read: the bus, the log or the retained store takes messages more slowly than they come, or all clients together have too
 * many waiting for the log. Bits: several can be true.
 */
export const PauseReason = { bus: 1, log: 2, retaining: 4, budget: 8 } as const;
