import type { ClusterOptions } from "./cluster.ts";

/** Modes whose hosts are answered from the journal: what they feel is that, whatever the copy is sent and when. */
export const journalModes = ["async", "cycle"] as const;
export type JournalMode = (typeof journalModes)[number];

/** The cluster with west as a copy in this mode; cycles answer hosts at once. */
export function inMode(options: ClusterOptions, mode: JournalMode): ClusterOptions {
  const cycles = { copies: { west: "every: 100ms, ackAt: journal" } };
  return { ...options, modes: { west: mode }, ...(mode === "cycle" ? cycles : {}) };
}
