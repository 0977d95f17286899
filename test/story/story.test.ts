import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { MiB } from "#base/limits.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster, type TestSite } from "../support/cluster.ts";
import { assertEqualImages, hashFile } from "../support/images.ts";
import { attachLoopDisk, type LoopDisk } from "../support/loop-disk.ts";
import { missing } from "../support/needs.ts";
import { runGood } from "../support/run-command.ts";
import { onEnd } from "../support/on-end.ts";

// The story of the mirror, with a real file system: a program writes files to ext4 on our volume, the primary is killed in
// the middle, the copy is promoted, and every file that was safe is there. The old primary comes back as a copy, of which
// only what was open is compared; then the sites change their roles, and it begins again.
//
// ANTIPODE_ROUNDS says how often (3 unless told).

const rounds = Number(process.env["ANTIPODE_ROUNDS"] ?? "3");
const volumeMiB = 128;
/** Files of a round before the kill: at least so many, and up to as many more. */
const filesMin = 20;

/** In CI nothing is skipped: there the tools and rights are missing loudly. */
function mayNotRun(): string | false {
  const tools = missing("libnbd-bin", "fuse3", "e2fsprogs");
  if (process.env["CI"] === "true" || tools !== false) return tools;
  return process.getuid?.() === 0 ? false : "only root may attach loop devices and mount";
}

/** Checksums by name: what the writer has said is safe. */
type Recorded = Map<string, string>;

type FileWriter = {
  readonly child: ChildProcess;
  /** Resolves when so many files of this writer are safe. */
  has(files: number): Promise<void>;
  readonly ended: Promise<void>;
};

function startFileWriter(
  t: TestContext,
  folder: string,
  seed: number,
  recorded: Recorded,
): FileWriter {
  const script = join(import.meta.dirname, "../support/file-writer.ts");
  const child = spawn(process.execPath, [script, folder, String(seed)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onEnd(t, () => void child.kill("SIGKILL"));
  let files = 0;
  const waiting: { readonly files: number; readonly give: () => void }[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    const [name = "", hash = ""] = line.split(" ");
    if (name === "stopped") return;
    recorded.set(name, hash);
    files += 1;
    for (const each of waiting) if (files >= each.files) each.give();
  });
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  return {
    child,
    ended,
    has(wanted) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      waiting.push({ files: wanted, give: resolve });
      void ended.then(() => reject(new Error(`the writer ended after ${files} files`)));
      return promise;
    },
  };
}

function openBytesOf(site: TestSite): number {
  const open = site.inspect().maps.filter(({ kind }) => kind === "open");
  return open.reduce((sum, map) => sum + map.markedBytes, 0);
}

async function attach(t: TestContext, site: TestSite): Promise<LoopDisk> {
  return attachLoopDisk(t, `nbd+unix:///bank/data?socket=${site.nbd}`);
}

/** Every recorded file is there, and the file system is in order. */
async function check(disk: LoopDisk, recorded: Recorded): Promise<void> {
  const folder = await disk.mount();
  for (const [name, hash] of recorded) assert.equal(hashFile(join(folder, name)), hash, name);
  await disk.unmount();
  await runGood("e2fsck", ["-f", "-n", disk.device]);
}

test(
  "F5, F7, F11: the story: kill, promote, check, resync, switch (rows 1, 8 and 9)",
  { skip: mayNotRun(), timeout: 120_000 * rounds },
  async (t) => {
    const cluster = await startCluster(t, { groups: { bank: { data: `${volumeMiB}MiB` } } });
    const recorded: Recorded = new Map();
    let primary = cluster.site("east");
    let copy = cluster.site("west");
    const first = await attach(t, primary);
    // All of it is written now, and nothing of it later behind our back.
    const eager = ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
    await runGood("mkfs.ext4", ["-q", ...eager, first.device]);
    await first.close();
    await primary.until("nothing is open", ({ openGranules }) => openGranules === 0);
    for (let round = 1; round <= rounds; round += 1) {
      await playRound(t, { cluster, primary, copy, round }, recorded);
      [primary, copy] = [copy, primary];
    }
    count("row 9", { faultsInjected: rounds, effectsSeen: rounds });
  },
);

type Round = {
  readonly cluster: TestCluster;
  readonly primary: TestSite;
  readonly copy: TestSite;
  readonly round: number;
};

async function playRound(
  t: TestContext,
  { cluster, primary, copy, round }: Round,
  recorded: Recorded,
): Promise<void> {
  const startMs = performance.now();
  const disk = await attach(t, primary);
  const folder = await disk.mount();
  const writer = startFileWriter(t, folder, round, recorded);
  // A different number of files each round, so that the kill meets different moments.
  await writer.has(filesMin + ((round * 37) % filesMin));
  await primary.kill();
  // Its next fsync fails, for there is no disk behind it any more.
  await writer.ended;
  await disk.close();

  const promoted = await cluster.cli("promote", "bank", "--site", copy.name);
  assert.equal(promoted.code, 0, promoted.stderr);
  const openBytes = openBytesOf(primary) + openBytesOf(copy);
  const survivor = await attach(t, copy);
  await check(survivor, recorded);
  await survivor.close();

  await primary.start();
  const back = await cluster.copyIs(copy.name, primary.name, "synchronized");
  const { openGranules, role } = await primary.group();
  assert.equal(role, "secondary");
  assert.ok(back.resyncComparedBytes > 0, "nothing was compared");
  // Open at the kill, or written since: by mounting, which replays the journal, and unmounting.
  const compared = back.resyncComparedBytes / MiB;
  assert.ok(compared < volumeMiB / 2, `${compared} of ${volumeMiB} MiB were compared`);
  await assertEqualImages(primary.image(), copy.image());
  t.diagnostic(
    `round ${round}: ${primary.name} killed, ${recorded.size} files safe, ${openBytes / MiB} MiB open, ` +
      `${compared} MiB compared, ${back.resyncSentBytes / MiB} MiB sent, ${openGranules} granules open now, ` +
      `${Math.round(performance.now() - startMs)} ms`,
  );
  assert.ok(fs.statSync(copy.image()).size === volumeMiB * MiB);
}
