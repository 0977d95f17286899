import { GiB, KiB, MiB } from "#base/limits.ts";

/** What holds where the cluster file is silent (SPEC decision 23, INTERFACE table of options). */
export const defaults = {
  durability: "flush",
  regionBytes: 64 * KiB,
  onLoss: "continue",
  bunkerOnLoss: "override",
  ackTimeoutMs: 10_000,
  resume: "auto",
  probeMs: 500,
  timeoutMs: 3_000,
  journal: { bytesMax: 1 * GiB, overflow: "trip" },
  seal: { everyMs: 50, bytesMax: 4 * MiB, onFlush: true },
  ackAt: "switch",
  cycle: { everyMs: { switch: 30, journal: 1_000 }, bytesMax: 32 * MiB },
  replayAfterMs: 60_000,
  staging: "durable",
  connections: 4,
} as const;
