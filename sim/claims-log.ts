import { appendFileSync } from "node:fs";
import type { Counters } from "./counters.ts";
import type { CountedFault } from "./swarm.ts";

/** Rows of the fault matrix (PROOF §3) that each kind of fault makes. */
const rowsOfFault: Readonly<Record<CountedFault, readonly string[]>> = {
  kill: ["row 1", "row 5"],
  power: ["row 2"],
  powerAll: ["row 3", "row 4"],
  crashPoint: ["row 18", "row 52"],
  resyncCrash: ["row 11", "row 52"],
  pause: ["row 36", "row 37"],
  reset: ["row 22"],
  blackHole: ["row 23"],
  oneWay: ["row 24"],
  flap: ["row 26"],
  slowLink: ["row 28"],
  diskStall: ["row 42"],
  writeStall: ["row 37"],
  syncError: ["row 38"],
  writeError: ["row 39"],
  readError: ["row 39"],
  noSpace: ["row 40", "row 41"],
  clockJump: ["row 34"],
  flip: ["row 32"],
  rot: ["row 44"],
};

export type ClaimCount = {
  readonly id: string;
  readonly faultsInjected: number;
  readonly effectsSeen: number;
};

/**
 * What a run proves, by claim: for an invariant, how often its checker was asked in worlds with how many faults; for a row of
 * the fault matrix, how often the fault was made, and the worlds came to rest afterwards.
 */
export function claimCounts(counters: Counters): ClaimCount[] {
  const counts = new Map<string, { faultsInjected: number; effectsSeen: number }>();
  const add = (id: string, faultsInjected: number, effectsSeen: number): void => {
    const known = counts.get(id) ?? { faultsInjected: 0, effectsSeen: 0 };
    counts.set(id, {
      faultsInjected: known.faultsInjected + faultsInjected,
      effectsSeen: known.effectsSeen + effectsSeen,
    });
  };
  const faults = [...counters].filter(([name]) => name.startsWith("faults:"));
  const total = faults.reduce((sum, [, value]) => sum + value, 0);
  for (const [name, value] of counters) {
    if (name.startsWith("checks:")) add(name.slice("checks:".length), total, value);
  }
  for (const [name, value] of faults) {
    const kind = name.slice("faults:".length) as CountedFault;
    for (const row of rowsOfFault[kind]) add(row, value, value);
  }
  return [...counts].map(([id, count]) => ({ id, ...count }));
}

/** Appends the counts to the file that the test run names, a JSON document a line; without one it does nothing. */
export function logClaims(counters: Counters): void {
  const file = process.env["ANTIPODE_CLAIMS_LOG"];
  if (file === undefined) return;
  const lines = claimCounts(counters).map((count) => `${JSON.stringify(count)}\n`);
  appendFileSync(file, lines.join(""));
}
