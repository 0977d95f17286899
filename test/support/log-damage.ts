// Logs of real sites that tests damage at rest: which files they are, what is done to them, and what must come of it.

import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { KiB } from "#base/limits.ts";
import { startCluster, type TestCluster, type TestSite } from "./cluster.ts";
import { assertEqualImages } from "./images.ts";
import type { JournalMode } from "./in-mode.ts";
import { connectHost } from "./nbd-host.ts";

/** A group with an asynchronous copy. */
export type Pair = {
  readonly cluster: TestCluster;
  readonly east: TestSite;
  readonly west: TestSite;
};

/** Both sites run, and the copy has everything. */
export async function startPair(
  t: TestContext,
  size = "16MiB",
  mode: JournalMode = "async",
): Promise<Pair> {
  const cluster = await startCluster(t, {
    groups: { bank: { data: size } },
    modes: { west: mode },
    // No standstill of the machine ends a session: what a loss leads to is counted.
    copies: { west: "probe: 100ms, timeout: 20s" },
  });
  return { cluster, east: cluster.site("east"), west: cluster.site("west") };
}

/** Writes a block of 64 KiB for each number, filled with it, and flushes each: one set and a synced record each. */
export async function writeBlocks(east: TestSite, numbers: readonly number[]): Promise<void> {
  const host = await connectHost(east.nbd, "bank/data");
  for (const number of numbers) {
    assert.equal(await host.write(number * 64 * KiB, Buffer.alloc(64 * KiB, number)), 0);
    assert.equal(await host.flush(), 0);
  }
  host.close();
}

/** 1, 2, 3, ... */
export const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);

/** Waits until the copy has everything and its image is equal to the primary's, byte for byte. */
export async function assertCaughtUp({ east, west }: Pair): Promise<void> {
  await east.until("west has applied everything", ({ copies: [copy] }) => {
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  await assertEqualImages(east.image(), west.image());
}

/** The segments of a site's log, the oldest first. */
export function segmentsOf(site: TestSite, kind: "journal" | "staging"): string[] {
  const folder = join(site.data, "bank");
  const names = fs
    .readdirSync(folder)
    .filter((name) => name.startsWith(`${kind}-`) && name.endsWith(".log"));
  return names.toSorted().map((name) => join(folder, name));
}

/** Turns one bit of a file over, in place: whoever has it open sees that, too. */
export function flipBit(path: string, at: number): void {
  const fd = fs.openSync(path, "r+");
  const byte = Buffer.alloc(1);
  fs.readSync(fd, byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ 1;
  fs.writeSync(fd, byte, 0, 1, at);
  fs.closeSync(fd);
}

/** The log's files are as they were: nothing was cut, nothing was made. */
export function assertUntouched(paths: readonly string[], before: readonly Buffer[]): void {
  for (const [index, path] of paths.entries())
    assert.ok(before[index]?.equals(fs.readFileSync(path)), `${path} was changed`);
}
