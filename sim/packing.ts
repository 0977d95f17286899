import { joined, viewOf } from "#base/bytes.ts";
import type { Result } from "#base/errors.ts";
import type { Packing } from "#ports/packing.ts";
import type { Process } from "./process.ts";
import type { Prng } from "./prng.ts";
import { eventKind, type Scheduler } from "./scheduler.ts";

// Packs runs of equal words: how often and which, four bytes each; what is left of a word stands behind. Zeros in stamped
// sectors shrink, other bytes grow. Each takes a time of its own, so that batches come back in another order.

export type SimPackingOptions = {
  readonly scheduler: Scheduler;
  readonly process: Process;
  readonly rng: Prng;
  readonly watch: (what: "packed" | "grew" | "unpacked") => void;
};

/** The `Packing` port of one process. */
export function createSimPacking({ scheduler, process, rng, watch }: SimPackingOptions): Packing {
  const later = (done: (result: Result<Uint8Array>) => void, result: Result<Uint8Array>): void => {
    if (!process.alive) return;
    const tookUs = rng.logUniform(5, 3_000);
    scheduler.after(tookUs, process, eventKind.packing, () => done(result));
  };
  return {
    name: "runs",
    pack(bytes, done) {
      const value = packRuns(bytes);
      watch(value.length < bytes.length ? "packed" : "grew");
      later(done, { ok: true, value });
    },
    unpack(packed, bytes, done) {
      const value = unpackRuns(packed, bytes);
      watch("unpacked");
      if (value === undefined) later(done, { ok: false, error: "its runs are of another length" });
      else later(done, { ok: true, value });
    },
  };
}

function packRuns(bytes: Uint8Array): Uint8Array {
  const view = viewOf(bytes);
  const whole = bytes.length - (bytes.length % 4);
  const pairs: number[] = [];
  for (let at = 0; at < whole; at += 4) {
    const word = view.getUint32(at, true);
    const last = pairs.length - 2;
    if (pairs[last + 1] === word) pairs[last] = (pairs[last] ?? 0) + 1;
    else pairs.push(1, word);
  }
  const packed = new Uint8Array(pairs.length * 4);
  const out = viewOf(packed);
  pairs.forEach((value, i) => out.setUint32(i * 4, value, true));
  return joined([packed, bytes.slice(whole)]);
}

function unpackRuns(packed: Uint8Array, bytes: number): Uint8Array | undefined {
  const tail = bytes % 4;
  if (packed.length < tail || (packed.length - tail) % 8 !== 0) return undefined;
  const view = viewOf(packed);
  const unpacked = new Uint8Array(bytes);
  const out = viewOf(unpacked);
  let to = 0;
  for (let at = 0; at < packed.length - tail; at += 8) {
    const end = to + view.getUint32(at, true) * 4;
    if (end > bytes - tail) return undefined;
    for (; to < end; to += 4) out.setUint32(to, view.getUint32(at + 4, true), true);
  }
  if (to !== bytes - tail) return undefined;
  unpacked.set(packed.subarray(packed.length - tail), to);
  return unpacked;
}
