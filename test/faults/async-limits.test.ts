import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { MiB } from "#base/limits.ts";
import { imageReader } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import {
  createCluster,
  startCluster,
  type TestCluster,
  type TestSite,
} from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { inMode, journalModes } from "../support/in-mode.ts";
import { connectHost } from "../support/nbd-host.ts";
import { missing } from "../support/needs.ts";
import { onEnd } from "../support/on-end.ts";
import { runCommand, runGood } from "../support/run-command.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";
import { until } from "../support/until.ts";

// What asynchronous copies cost when something is too slow, too small or away: room in the journal, memory, descriptors.

const volumeBytes = 64 * MiB;
/** What one host may have under way inside the site, and what all of it together may cost in memory for a while. */
const insideBytesMax = 64 * MiB;
const grownBytesMax = 160 * MiB;
const options = { groups: { bank: { data: "64MiB" } }, modes: { west: "async" } } as const;

/** Most memory that the site's process ever had, in bytes. */
function peakBytes(site: TestSite): number {
  const status = fs.readFileSync(`/proc/${site.pid()}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** Writes so many MiB at once, over the volume again and again; the outcome of each. */
async function pushMiB(
  site: TestSite,
  many: number,
  onAnswer: (error: number, number: number) => void,
): Promise<{ readonly pending: () => number; readonly all: Promise<void>; close(): void }> {
  const host = await connectHost(site.nbd, "bank/data");
  const writes = Array.from({ length: many }, async (_, number) => {
    const offset = (number * MiB) % volumeBytes;
    onAnswer(await host.write(offset, Buffer.alloc(MiB, number + 1)), number);
  });
  return {
    pending: host.pending,
    all: Promise.all(writes).then(() => undefined),
    close: () => host.close(),
  };
}

async function assertCaughtUp(
  cluster: TestCluster,
  images?: readonly [string, string],
): Promise<void> {
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await east.until("west has applied everything", ({ copies: [copy] }) => {
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  const [one, other] = images ?? [east.image(), west.image()];
  await assertEqualImages(one, other);
}

/** Makes every write and sync of the site's journal take so long; how many it delayed. Ends with the test. */
async function slowJournal(t: TestContext, site: TestSite, delayMs: number): Promise<() => number> {
  const folder = join(site.data, "bank");
  const [name = ""] = fs.readdirSync(folder).filter((each) => each.startsWith("journal-"));
  // Also of the segments that it will make.
  const places = Array.from({ length: 8 }, (_, index) => {
    const number = (index + 1).toString(16).padStart(8, "0");
    return ["-P", join(folder, name.replace(/[0-9a-f]{8}\.log$/, `${number}.log`))];
  });
  const temp = makeTempFolder();
  const log = join(temp, "strace");
  const calls = "pwrite64,pwritev,pwritev2,fdatasync,fsync";
  const inject = `inject=${calls}:delay_enter=${delayMs * 1000}`;
  const who = ["-f", "-qq", "-o", log, "-p", String(site.pid())];
  const what = [...places.flat(), "-e", `trace=${calls}`, "-e", inject];
  const strace = spawn("strace", [...who, ...what], { stdio: "ignore" });
  onEnd(t, async () => {
    const gone = strace.exitCode === null ? once(strace, "exit") : undefined;
    strace.kill("SIGTERM");
    await gone;
    removeTempFolder(temp);
  });
  const tracer = (): string =>
    /^TracerPid:\s+(\d+)$/m.exec(fs.readFileSync(`/proc/${site.pid()}/status`, "utf8"))?.[1] ?? "0";
  await until("strace has the process", () => tracer() !== "0");
  return () => (fs.existsSync(log) ? fs.readFileSync(log, "utf8").split("\n").length - 1 : 0);
}

for (const mode of journalModes) {
  test(
    `row 43, I36: mode ${mode}: a journal whose disk is slow slows hosts down, who hold no memory of ours for it`,
    { skip: missing("strace") },
    async (t) => {
      const cluster = await startCluster(t, inMode(options, mode));
      const east = cluster.site("east");
      const delayed = await slowJournal(t, east, 20);
      const before = peakBytes(east);
      let answered = 0;
      const push = await pushMiB(east, 320, (error) => {
        assert.equal(error, 0);
        answered += 1;
      });
      let inside = 0;
      while (push.pending() > 0) inside = Math.max(inside, (await east.group()).requestsInFlight);
      await push.all;
      push.close();
      assert.equal(answered, 320);
      assert.ok(inside > 0 && inside * MiB <= insideBytesMax, `${inside} MiB inside at once`);
      const grown = peakBytes(east) - before;
      assert.ok(grown < grownBytesMax, `grown by ${grown} bytes`);
      assert.ok(delayed() >= 50, `${delayed()} writes and syncs were slow`);
      await assertCaughtUp(cluster);
      count("row 43", { faultsInjected: delayed(), effectsSeen: delayed() });
    },
  );
}

for (const overflow of ["stall", "fail"] as const) {
  test(`I25, I36: with overflow: ${overflow} a full journal acks nothing, says so, and takes no memory; then the copy has it all (rows 7 and 40)`, async (t) => {
    const cluster = await startCluster(t, {
      ...options,
      groupLines: [`journal: { size: 256MiB, overflow: ${overflow} }`],
    });
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    await west.kill();
    const before = peakBytes(east);
    const outcomes: number[] = [];
    const refused: number[] = [];
    const push = await pushMiB(east, 300, (error, number) => {
      outcomes.push(error);
      if (error !== 0) refused.push(number);
    });
    const ackedNow = (): number => outcomes.filter((error) => error === 0).length;
    if (overflow === "stall") {
      const { journal } = await east.until(
        "hosts wait",
        (group) => group.journal.stalledWrites > 0,
      );
      assert.ok(journal.bytesUsed <= journal.bytesMax);
      assert.ok(push.pending() > 0 && refused.length === 0);
    } else {
      await push.all;
      assert.ok(refused.length > 0, "hosts are told");
    }
    const acked = ackedNow();
    const { journal, copies } = await east.group();
    assert.ok(acked * MiB <= journal.bytesUsed && journal.bytesUsed <= journal.bytesMax);
    const [copy] = copies;
    assert.deepEqual([copy?.state, copy?.dirtyBytes], ["buffering", 0], "nothing is tripped");
    assert.ok((copy?.lagWrites ?? 0) >= acked && (copy?.lagBytes ?? 0) >= acked * MiB, "I33");
    const grown = peakBytes(east) - before;
    assert.ok(grown < grownBytesMax, `grown by ${grown} bytes`);
    await west.start();
    await push.all;
    push.close();
    await assertCaughtUp(cluster);
    assert.equal((await east.copy("west")).resyncComparedBytes, 0, "the journal had it all");
    if (overflow === "stall") assert.equal(ackedNow(), 300, "those who waited were served");
    // A refused write is on no leg, or the next one to its place is.
    const last = refused.at(-1) ?? 0;
    if (overflow === "fail")
      assert.notEqual(
        imageReader(east.image())((last * MiB) % volumeBytes, 1)[0],
        (last + 1) & 255,
      );
    count("row 40", { faultsInjected: 1, effectsSeen: 300 - acked });
  });
}

const needsRoot = {
  skip: process.getuid?.() === 0 || process.env["CI"] === "true" ? false : "only root may mount",
};

for (const full of ["east", "west"] as const) {
  test(
    `row 40: a disk that is full under the ${full === "east" ? "journal" : "staging log"} is said in words, and after a restart with room nothing replied is lost`,
    needsRoot,
    async (t) => {
      const folder = makeTempFolder();
      const images = { east: join(folder, "east.img"), west: join(folder, "west.img") };
      // Where no room can be taken ahead, a primary fails for it (SPEC-async.md).
      const env = { east: { ANTIPODE_NO_NATIVE: "1" } };
      const cluster = await createCluster(t, { ...options, at: { bank: { data: images } }, env });
      const [east, west, site] = [cluster.site("east"), cluster.site("west"), cluster.site(full)];
      fs.mkdirSync(site.data);
      await runGood("mount", ["-t", "tmpfs", "-o", "size=24M", "antipode-test", site.data]);
      onEnd(t, async () => {
        await Promise.all([east.kill(), west.kill()]);
        await runCommand("umount", ["-l", site.data]);
        removeTempFolder(folder);
      });
      await cluster.start();
      await cluster.copyIs("east", "west", "streaming");
      const acked: number[] = [];
      const push = await pushMiB(east, 40, (error, number) => {
        if (error === 0) acked.push(number);
      });
      const lost = await push.all.then(
        () => "",
        (error: unknown) => String(error),
      );
      push.close();
      if (full === "east") {
        assert.match(lost, /ConnectionLost/, "who is not answered is let go");
        const { serving, why } = await east.group();
        assert.equal(serving, false);
        assert.match(why, /journal-[0-9a-f-]+\.log at byte \d+: no space left on device/);
        const helps = await cluster.cli("why", "bank", "--site", "east");
        assert.match(helps.stdout, /free some space.*then stop site east and start it again/);
        for (const command of [
          ["pause", "--copy", "west"],
          ["switchover", "--to", "west"],
          ["demote"],
        ]) {
          const [verb = "", ...more] = command;
          const { code, stderr } = await cluster.cli(verb, "bank", "--site", "east", ...more);
          assert.equal(code, 1, stderr);
          assert.match(stderr, /has failed at east[^]*hint: .*stop site east and start it again/);
        }
      } else {
        assert.deepEqual([lost, acked.length], ["", 40], "hosts do not pay for the copy's disk");
        await east.until("it is said", ({ copies: [copy] }) =>
          /staging-[0-9a-f-]+\.log at byte \d+: no space left/.test(copy?.why ?? ""),
        );
      }
      await runGood("mount", ["-o", "remount,size=300M", site.data]);
      await site.kill();
      await site.start();
      await east.until("serves", ({ serving }) => serving);
      await assertCaughtUp(cluster, [images.east, images.west]);
      const read = imageReader(images.west);
      for (const number of acked)
        assert.equal(read((number * MiB) % volumeBytes, 1)[0], number + 1, `write ${number}`);
      count("row 40", { faultsInjected: 1, effectsSeen: 1 });
    },
  );
}
