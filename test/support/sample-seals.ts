import { limits } from "#base/limits.ts";
import type { SealPolicy } from "#core/journal.ts";

/** How sets are sealed where a test has no wish of its own. */
export function sampleSeals(fields: Partial<SealPolicy> = {}): SealPolicy {
  return {
    everyMs: 50,
    bytesMax: 65_536,
    onFlush: true,
    countMax: limits.setEntriesMax,
    acksAtSwitch: false,
    ...fields,
  };
}
