import type { Result } from "#base/errors.ts";

/**
 * Packs bytes for the wire and unpacks them at the other end, beside the loop. `done` comes later, never before the call has
 * returned; until then nobody writes into what was given. Only so much is under way at a time: the rest waits its turn.
 */
export type Packing = {
  /** What sites call it: one packs only for another that says it understands this. */
  readonly name: string;
  pack(bytes: Uint8Array, done: (packed: Result<Uint8Array>) => void): void;
  /** Comes to exactly so many bytes, or to an error; never takes memory for more. */
  unpack(packed: Uint8Array, bytes: number, done: (unpacked: Result<Uint8Array>) => void): void;
};
