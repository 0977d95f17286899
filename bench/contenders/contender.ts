import type { Place } from "../place.ts";
import type { Server } from "../processes.ts";

/** Something that serves a volume by NBD, and may mirror it. */
export type Contender = {
  /** As it stands in the table. */
  readonly title: string;
  /** Starts all of it and resolves when it serves and its mirror, if there is one, is synchronous. */
  start(place: Place): Promise<Running>;
};

export type Running = {
  readonly uri: string;
  /** Every process that takes part, for CPU time and memory. */
  readonly servers: readonly Server[];
  /** The volume's image, then its mirror's where there is one. */
  readonly images: readonly string[];
  /** Throws when a mirror is no longer synchronous: then what was just measured was not a mirror. */
  checkMirror(): Promise<void>;
  stop(): Promise<void>;
};

/** Stops servers in the order in which a write meets them, so that none loses its peer while it works. */
export async function stopAll(servers: readonly Server[]): Promise<void> {
  for (const server of servers) await server.stop();
}
