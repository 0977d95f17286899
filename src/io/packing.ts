import { constants, zstdCompress, zstdDecompress } from "node:zlib";
import { createFifo, push, shift } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import type { Result } from "#base/errors.ts";
import type { Packing } from "#ports/packing.ts";

/** What zlib takes for the size of a piece of output at least. */
const chunkBytesMin = 64;

type Job = (ended: () => void) => void;

/** The `Packing` port by zstd, in Node's pool of threads. */
export function createPacking(): Packing {
  const run = createTurns(limits.packingsMax);
  return {
    name: "zstd",
    pack: (bytes, done) => run((ended) => pack(bytes, finish(done, ended))),
    unpack: (packed, bytes, done) => run((ended) => unpack(packed, bytes, finish(done, ended))),
  };
}

type Done = (result: Result<Uint8Array>) => void;

// The next one begins first: `done` may take its time.
function finish(done: Done, ended: () => void): Done {
  return (result) => {
    ended();
    done(result);
  };
}

function pack(bytes: Uint8Array, done: Done): void {
  const options = {
    params: { [constants.ZSTD_c_compressionLevel]: limits.zstdLevel },
    // In one piece: each costs a way to the pool and back.
    chunkSize: Math.max(chunkBytesMin, bytes.length),
  };
  zstdCompress(bytes, options, (error, packed) => {
    // A copy: the piece that it lies in is as long as what was packed, and would count as little while it waits to be sent.
    if (error === null) done({ ok: true, value: new Uint8Array(packed) });
    else done({ ok: false, error: error.message });
  });
}

function unpack(packed: Uint8Array, bytes: number, done: Done): void {
  const options = {
    params: { [constants.ZSTD_d_windowLogMax]: limits.zstdWindowLogMax },
    maxOutputLength: Math.max(1, bytes),
    chunkSize: Math.max(chunkBytesMin, bytes),
  };
  zstdDecompress(packed, options, (error, unpacked) => {
    if (error !== null) done({ ok: false, error: error.message });
    else if (unpacked.length === bytes) done({ ok: true, value: unpacked });
    else done({ ok: false, error: `it unpacks to ${unpacked.length} bytes instead of ${bytes}` });
  });
}

/** Runs so many jobs at a time, the others in the order in which they came. */
function createTurns(atOnce: number): (job: Job) => void {
  const waiting = createFifo<Job>();
  let running = 0;
  const next = (): void => {
    if (running >= atOnce) return;
    const job = shift(waiting);
    if (job === undefined) return;
    running += 1;
    job(() => {
      running -= 1;
      next();
    });
  };
  return (job) => {
    push(waiting, job);
    next();
  };
}
