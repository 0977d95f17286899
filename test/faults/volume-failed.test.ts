import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { MiB } from "#base/limits.ts";
import { assertWestHasAll, startBunkerBank } from "../support/bunker-bank.ts";
import { count } from "../support/claims.ts";
import { assertEqualImages } from "../support/images.ts";
import { startLabDisk } from "../support/lab-disk.ts";
import { missing } from "../support/needs.ts";
import { connectHost, ConnectionLost } from "../support/nbd-host.ts";
import { readerOf } from "../support/sets-bank.ts";

// A volume that fails under a living primary and stays failed, while hosts write to another one of its group: what its image
// lacks is kept in the journal, and that fills up (SPEC 1B, decision 13).

const needsFuse = { skip: missing("libnbd-bin", "fuse3") };
const ioError = 5;
/** The site hangs up on hosts that it serves no more. */
const gone = 108;
const logBytes = 8 * MiB;

/** `data` has failed at east; hosts write to `log` until there is no room in the journal. */
async function fillJournal(t: TestContext, kind: "write" | "flush") {
  const disk = await startLabDisk(t, 16 * MiB);
  const bank = await startBunkerBank(t, "probe: 100ms, timeout: 1s", {
    at: { bank: { data: { east: disk.path } } },
    groupLines: ["journal: { size: 128MiB, overflow: trip }"],
  });
  const { east } = bank;
  const data = await connectHost(east.nbd, "bank/data");
  assert.equal(await data.write(0, Buffer.alloc(MiB, 1)), 0);
  disk.failNext(kind, "io");
  const failed = kind === "write" ? data.write(MiB, Buffer.alloc(MiB, 2)) : data.flush();
  assert.equal(await failed, ioError);
  const log = await connectHost(east.nbd, "bank/log");
  /** The outcome of each write, by its number. */
  const outcomes: number[] = [];
  const writes: Promise<void>[] = [];
  for (let isFull = false; !isFull && writes.length < 400;) {
    const number = writes.length;
    const bytes = Buffer.alloc(MiB, number % 251);
    const write = log.write((number * MiB) % logBytes, bytes);
    writes.push(
      write
        .catch((error: unknown) => (error instanceof ConnectionLost ? gone : Promise.reject(error)))
        .then((outcome) => void (outcomes[number] = outcome)),
    );
    isFull = log.pending() > 4 && (await east.group()).journal.stalledWrites > 0;
  }
  assert.ok(outcomes.length < writes.length, "writes wait");
  assert.ok(outcomes.every((outcome) => outcome === 0));
  t.after(() => [data, log].forEach((host) => host.close()));
  return { ...bank, disk, data, log, outcomes, writes: Promise.all(writes) };
}

test(
  "B7, row 39, row 40: a failed volume fills the journal: writes to the others wait and status says for what, copies lose nothing, and a repair lets them go on",
  needsFuse,
  async (t) => {
    const bank = await fillJournal(t, "write");
    const { cluster, east, west, vault, disk, data, outcomes, writes } = bank;
    const isSaid = /the journal is full of what data lacks, which has failed here; writes wait/;
    const held = await east.group();
    assert.match(held.why, isSaid);
    const forData = { by: "journal", keptFor: "failed-volume", volume: "data", verdict: "wait" };
    assert.deepEqual(held.writesHeldUp, forData);
    const { stdout } = await cluster.cli("why", "bank");
    assert.match(stdout, /hosts of bank cannot write at east/);
    assert.match(stdout, /repair bank --volume data --site east; where that is refused, .*demote/);
    // Who asks for nothing of the journal is answered: the failed volume by its error, the other one as ever.
    assert.equal(await data.write(0, Buffer.alloc(MiB, 3)), ioError);
    const other = await connectHost(east.nbd, "bank/log");
    assert.equal(await other.flush(), 0);
    assert.equal((await other.read(0, MiB)).length, MiB);
    other.close();
    // Everything that was acked is at the copy and in the bunker, though nothing was let go here.
    const acked = outcomes.length;
    const { journal, lsn } = await east.group();
    assert.ok(acked * MiB <= journal.bytesUsed && journal.bytesUsed <= journal.bytesMax);
    await west.until("it has everything", ({ copies }) => (copies[0]?.applied ?? 0) >= lsn);
    await vault.until("it has everything", ({ copies }) => (copies[0]?.received ?? 0) >= lsn);
    const waited = (await east.group()).journal.stalledWrites;
    assert.equal((await cluster.cli("repair", "bank", "--volume", "data")).code, 0);
    await writes;
    assert.ok(
      outcomes.every((outcome) => outcome === 0),
      "no host saw an error",
    );
    await east.until("there is room again", ({ why }) => why === "");
    assert.equal(await data.write(0, Buffer.alloc(MiB, 4)), 0);
    await assertWestHasAll({ ...bank, east: { ...east, image: imagesWith(east, disk.path) } });
    count("row 39", { faultsInjected: disk.failed(), effectsSeen: waited });
  },
);

function imagesWith(east: { image(volume?: string): string }, path: string) {
  return (volume = "data"): string => (volume === "data" ? path : east.image(volume));
}

test(
  "B7, row 38: a volume whose sync has failed fills the journal, and cannot be repaired: the copy takes over with everything that was acked, and who waited is told",
  needsFuse,
  async (t) => {
    const bank = await fillJournal(t, "flush");
    const { cluster, east, west, disk, outcomes, writes } = bank;
    const acked = outcomes.length;
    const refused = await cluster.cli("repair", "bank", "--volume", "data");
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, /demote east and promote a copy/);
    const demoted = await cluster.cli("demote", "bank", "--site", "east");
    assert.equal(demoted.code, 0, demoted.stderr);
    await writes;
    const told = outcomes.slice(acked).filter((outcome) => outcome !== 0);
    assert.ok(told.length > 0 && told.every((outcome) => outcome === gone), told.join());
    const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
    assert.equal(replayed.code, 0, replayed.stderr);
    const promoted = await cluster.cli("promote", "bank", "--site", "west");
    assert.equal(promoted.code, 0, promoted.stderr);
    const read = readerOf(west);
    assert.ok(read(0, 0, MiB).equals(Buffer.alloc(MiB, 1)), "data has what was acked");
    const last = outcomes.lastIndexOf(0);
    for (let number = last - 7; number <= last; number += 1) {
      const found = read(1, (number * MiB) % logBytes, MiB);
      assert.ok(found.equals(Buffer.alloc(MiB, number % 251)), `write ${number} of ${last}`);
    }
    // The disk works again; the process that saw its sync fail does not trust it any more.
    await west.until("it says what it takes", ({ copies: [copy] }) =>
      /the image here cannot be written: .*this site must be started again/.test(copy?.why ?? ""),
    );
    await east.kill();
    await east.start();
    const copy = await cluster.copyIs("west", "east", "streaming");
    // The image may lack what was open, so that is sent again without a compare.
    assert.ok(copy.resyncSentBytes > 0, "it is brought up from the copy");
    await west.until(
      "east has it all",
      ({ copies }) => copies[0]?.lagWrites === 0 && copies[0].applyLagWrites === 0,
    );
    await assertEqualImages(west.image(), disk.path);
    await assertEqualImages(west.image("log"), east.image("log"));
    count("row 38", { faultsInjected: disk.failed(), effectsSeen: told.length });
  },
);
