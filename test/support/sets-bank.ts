// A group of two volumes with an asynchronous copy on real processes, for tests of sets: its sets end where the host
// flushes, and what comes to the copy is in the test's hand.

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { imageReader } from "./acked-writer.ts";
import type { ChainWriter } from "./chain-writer.ts";
import type { ClusterOptions, TestSite } from "./cluster.ts";
import { type FramedCluster, type SeenFrame, startFramedCluster } from "./frame-proxy.ts";
import { assertEqualImages } from "./images.ts";
import { connectHost, type NbdHost } from "./nbd-host.ts";

export const blockBytes = 4096;
/** The two volumes as a chain writer writes them. */
export const exports = ["bank/data", "bank/log"];

// Sets end where the host flushes, and nowhere else while a test looks at them; and a session ends where a test ends it, not
// with a standstill of the machine: what is sent again is counted.
const options = {
  groups: { bank: { data: "16MiB", log: "8MiB" } },
  modes: { west: "async" },
  copies: { west: "probe: 100ms, timeout: 20s, seal: { every: 20s, bytes: 64MiB }" },
  isTraced: true,
} as const;

/** A bank whose copy is reached by way of a proxy that knows frames, and a host at each of its volumes. */
export type Bank = FramedCluster & {
  readonly east: TestSite;
  readonly west: TestSite;
  readonly data: NbdHost;
  readonly log: NbdHost;
};

export async function startBank(t: TestContext, more: ClusterOptions = {}): Promise<Bank> {
  const framed = await startFramedCluster(t, { ...options, ...more });
  const [east, west] = [framed.cluster.site("east"), framed.cluster.site("west")];
  const [data, log] = await Promise.all([
    connectHost(east.nbd, "bank/data"),
    connectHost(east.nbd, "bank/log"),
  ]);
  t.after(() => [data, log].forEach((host) => host.close()));
  return { ...framed, east, west, data, log };
}

/** A transaction over both volumes, each block filled with the byte, and the end of its set. */
export async function commit({ data, log }: Bank, block: number, byte: number): Promise<void> {
  for (const host of [log, data])
    assert.equal(await host.write(block * blockBytes, Buffer.alloc(blockBytes, byte)), 0);
  assert.equal(await data.flush(), 0);
}

/** What the copy's images hold of a block, in both volumes; a byte that is not the same throughout is torn. */
export function heldAt(site: TestSite, block: number): number[] {
  return ["data", "log"].map((volume) => {
    const bytes = imageReader(site.image(volume))(block * blockBytes, blockBytes);
    assert.ok(
      bytes.every((byte) => byte === bytes[0]),
      "a torn block",
    );
    return bytes[0] ?? 0;
  });
}

/** Waits until the copy has everything and both images are equal to the primary's, byte for byte. */
export async function assertCaughtUp({ east, west }: Pick<Bank, "east" | "west">): Promise<void> {
  await east.until("west has applied everything", (group) => {
    const copy = group.copies[0];
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  for (const volume of ["data", "log"])
    await assertEqualImages(east.image(volume), west.image(volume));
}

/** The sets that a batch has writes of. */
export function setsOf(frame: SeenFrame): number[] {
  return frame.entries.filter(({ kind }) => kind === "write").map(({ set }) => set);
}

/** A line of `antipode inspect --sets`. */
export type InspectedSet = {
  readonly set: number;
  readonly received: number;
  readonly expected: number | null;
  readonly complete: boolean;
  readonly applied: boolean;
};

/** What `antipode inspect --sets` says of a set in the folder of the copy, which may run. */
export async function inspectSet(
  { cluster, west }: Bank,
  set: number,
): Promise<InspectedSet | undefined> {
  const { code, stdout, stderr } = await cluster.cli("inspect", west.data, "--sets", "--json");
  assert.equal(code, 0, stderr);
  const { groups } = JSON.parse(stdout) as { groups: { sets: InspectedSet[] }[] };
  return groups[0]?.sets.find((each) => each.set === set);
}

/** Reads the images as they lie on the disk. */
export function readerOf(
  site: TestSite,
): (volume: number, offset: number, length: number) => Buffer {
  const readers = ["data", "log"].map((volume) => imageReader(site.image(volume)));
  return (volume, offset, length) => {
    const read = readers[volume];
    assert.ok(read !== undefined);
    return read(offset, length);
  };
}

/**
 * The highest write that a copy without its link shows; throws unless its images are a state of the chain. They are read one
 * after the other, and what was staged may become complete, and be applied, between the two: then they are read again.
 */
export async function prefixShownBy(site: TestSite, writer: ChainWriter): Promise<number> {
  for (;;) {
    const before = await appliedBy(site);
    const [shown] = await Promise.allSettled([writer.prefixOf(readerOf(site))]);
    if ((await appliedBy(site)) !== before) continue;
    if (shown.status === "rejected") throw shown.reason;
    return shown.value;
  }
}

/** The last write of what is complete, once that is applied. */
async function appliedBy(site: TestSite): Promise<number> {
  const { copies } = await site.until(
    "what is complete is applied",
    ({ copies: [own] }) => own?.applyLagWrites === 0 && own.isFed === false,
  );
  return copies[0]?.complete ?? 0;
}
