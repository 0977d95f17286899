import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { KiB } from "#base/limits.ts";
import { killEast, startBunkerBank } from "../support/bunker-bank.ts";
import { count } from "../support/claims.ts";
import type { TestSite } from "../support/cluster.ts";
import { connectHost } from "../support/nbd-host.ts";
import { startNbdkitBefore } from "../support/nbdkit.ts";
import { missing } from "../support/needs.ts";
import { runCommand } from "../support/run-command.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";

// A stranger's host with many writes under way: fio, which keeps a log of its own of every write that was answered.

/** A long run asks for more: `ANTIPODE_ROUNDS=100 npm test -- bunker-fio bunker-replay`. */
const rounds = Number(process.env["ANTIPODE_ROUNDS"] ?? 3);
const blockBytes = 4 * KiB;
/** At this rate so many writes take 10 s. */
const writesPerSecond = 480;
const writes = 10 * writesPerSecond;

for (let round = 1; round <= rounds; round += 1) {
  test(
    `B8, I5, row 14: of 10 s of fio's writes, over a link that crawls, none that was acked is lost with the primary and its data (round ${round})`,
    { skip: missing("fio", "nbdkit") },
    async (t) => {
      const bank = await startBunkerBank(t, "probe: 100ms", {
        groups: { bank: { data: "64MiB", log: "8MiB" } },
      });
      const { cluster, east, west, toWest, toEast } = bank;
      toWest.bytesPerSecond = 20_000;
      const host = await startFio(t, east, round);
      await east.until("fio has written for 10 s", ({ lsn }) => lsn >= writes);
      await Promise.all([killEast(bank), toEast.close()]);
      fs.rmSync(east.data, { recursive: true });
      const acked = await host.acked();
      assert.ok(acked.length > writes - 100, `${acked.length} writes were acked`);
      const [before] = (await west.group()).copies;
      assert.ok((before?.complete ?? 0) < writes / 2, "the copy was far behind");
      const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
      assert.equal(replayed.code, 0, replayed.stderr);
      const promoted = await cluster.cli("promote", "bank", "--site", "west");
      assert.equal(promoted.code, 0, promoted.stderr);
      const lost = await lostOf(west, acked);
      assert.deepEqual(lost, [], `${lost.length} of ${acked.length} acked writes are lost`);
      count("row 14", { faultsInjected: 1, effectsSeen: writes - (before?.complete ?? 0) });
    },
  );
}

/**
 * Writes each block once, in a random order, 16 at a time; the block is filled with its own offset. It ends at the first error;
 * `acked` then gives the offset of each write that was answered. The site's end must reach it as an error: fio, where it loses
 * its connection while writes are under way, may neither end nor write its log.
 */
async function startFio(t: TestContext, site: TestSite, seed: number) {
  const folder = makeTempFolder();
  t.after(() => removeTempFolder(folder));
  const inFront = join(folder, "nbd.sock");
  const before = await startNbdkitBefore({ socket: site.nbd, name: "bank/data" }, inFront);
  t.after(() => before.kill());
  const what = [
    "--name=job",
    "--ioengine=nbd",
    `--uri=${before.uri}`,
    "--size=64m",
    `--randseed=${seed}`,
  ];
  const how = ["--rw=randwrite", "--bs=4k", "--iodepth=16", `--rate_iops=${writesPerSecond}`];
  const content = ["--verify=pattern", "--verify_pattern=%o", "--do_verify=0"];
  const record = [`--write_lat_log=${join(folder, "told")}`, "--log_offset=1"];
  const ended = runCommand("fio", [...what, ...how, ...content, ...record]);
  return {
    acked: async (): Promise<number[]> => {
      const { code, stderr } = await ended;
      assert.equal(code, 1, `fio ended with an error: ${stderr}`);
      const [name = ""] = fs.readdirSync(folder).filter((each) => /_clat\.\d+\.log$/.test(each));
      const lines = fs.readFileSync(join(folder, name), "utf8").trim().split("\n");
      // Milliseconds, nanoseconds it took, direction, bytes, offset, priority.
      return lines.map((line) => Number(line.split(",")[4]));
    },
  };
}

/** Offsets of acked writes that the site's export does not give back. */
async function lostOf(site: TestSite, acked: readonly number[]): Promise<number[]> {
  const host = await connectHost(site.nbd, "bank/data");
  const lost: number[] = [];
  for (const offset of acked) {
    const block = await host.read(offset, blockBytes);
    const expected = Buffer.alloc(8);
    expected.writeBigUInt64LE(BigInt(offset));
    if (!block.equals(Buffer.alloc(blockBytes, expected))) lost.push(offset);
  }
  host.close();
  return lost;
}
