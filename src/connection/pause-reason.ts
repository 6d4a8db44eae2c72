/** Why a socket is not read: the bus or the log takes messages more slowly than they come. Bits: both can be true. */
export const PauseReason = { bus: 1, log: 2 } as const;
