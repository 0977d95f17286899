// What a fault test saw, handed to `npm run claims`.

import { appendFileSync } from "node:fs";

/** How often the fault was made, and how often its effect was seen (in the fault's own unit: kills, cuts, writes). */
export type ClaimCount = { readonly faultsInjected: number; readonly effectsSeen: number };

/**
 * Adds the counts of one run to a claim (`F4`, `I16`, `row 8`). A claim whose tests made no fault, or saw none of their
 * faults take effect, proves nothing, and the claims part of the test run says so. Outside the runner it does nothing.
 */
export function count(id: string, counts: ClaimCount): void {
  const file = process.env["ANTIPODE_CLAIMS_LOG"];
  if (file === undefined) return;
  // One short append is one write, so that test processes side by side do not tear each other's lines.
  appendFileSync(file, `${JSON.stringify({ id, ...counts })}\n`);
}
