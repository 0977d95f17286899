import { limits } from "#base/limits.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";
import { askRecord } from "./records.ts";

/** Reserves more numbers durably, for LSNs and sets alike, well before they are needed (trap 5). */
export function reserve(primary: Primary, out: PrimaryEffect[]): void {
  const through = Math.max(primary.nextLsn, primary.journal?.nextSet ?? 0) + limits.lsnReserve;
  primary.record.lsnReserved = through;
  askRecord(primary, { kind: "reserved", through }, out);
}
