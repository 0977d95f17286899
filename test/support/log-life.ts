// What a log's life is made of in tests: records appended and read back, and an opening that goes on behind what was found.

import assert from "node:assert/strict";
import { placeOf } from "#store/log-places.ts";
import type { Log } from "#store/log.ts";
import { afterPowerLoss, mustAppend, mustSync, opened, pieceOf, readAll } from "./log-world.ts";
import type { LogWorld, Piece } from "./log-world.ts";

/** All records that the log has, in order. */
export function everything(world: LogWorld, log: Log): Piece[] {
  const { pieces, failure } = readAll(world, log, placeOf(log, log.firstRecord) ?? assert.fail());
  assert.equal(failure, undefined);
  return pieces;
}

/** Appends records up to this one, each of as many bytes as `bytes` says, and notes them in `pieces`. */
export function appendUpTo(
  log: Log,
  pieces: Piece[],
  last: number,
  bytes: (n: number) => number,
): void {
  while (pieces.length < last) {
    const piece = pieceOf(pieces.length + 1, bytes(pieces.length + 1));
    mustAppend(log, piece);
    pieces.push(piece);
  }
}

/** Appends more, other than before, and opens once again: nothing of what was cut off may come back. */
export function goOn(world: LogWorld, log: Log): void {
  const before = everything(world, log);
  const more = [3, 4, 5].map((n) => pieceOf(1_000 + n, 100 * n));
  for (const piece of more) mustAppend(log, piece);
  mustSync(world, log);
  const again = opened(afterPowerLoss(world.disk.state, "none", "again"));
  assert.deepEqual(again.damage, []);
  world.kill();
  assert.deepEqual(everything(world, opened(world)), [...before, ...more]);
}
