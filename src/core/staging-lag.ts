import { at } from "#base/fifo.ts";
import type { Staging } from "./staging-state.ts";

/** Bytes of the volumes that complete sets change, and that are not in the images yet. */
export function completeBytes({ applying, ready }: Staging<unknown>): number {
  let bytes = 0;
  for (const list of [applying, ready])
    for (let i = 0; i < list.count; i += 1)
      for (const entry of at(list, i)?.tracker.entries ?? []) bytes += entry?.length ?? 0;
  return bytes;
}
