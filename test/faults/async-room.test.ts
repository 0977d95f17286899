import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { count } from "../support/claims.ts";
import { createCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { segmentsOf, upTo, writeBlocks } from "../support/log-damage.ts";
import { onEnd } from "../support/on-end.ts";
import { fill, mountSmallAt, needsRoot } from "../support/small-disk.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";

// A copy that takes sets, whose staging log has no room: real processes on a small file system.

/** Both sites run; the copy's data folder is a small file system, and its image lies elsewhere. */
async function startSmall(t: TestContext) {
  const images = makeTempFolder();
  onEnd(t, () => removeTempFolder(images));
  const place = join(images, "data.img");
  const cluster = await createCluster(t, {
    modes: { west: "async" },
    at: { bank: { data: { west: place } } },
  });
  const east = cluster.site("east");
  const west = cluster.site("west");
  await mountSmallAt(t, west.data, "8M");
  await cluster.start();
  await cluster.copyIs("east", "west", "streaming");
  return { cluster, east, west, place };
}

test(
  "row 41, row 40: a copy without room for its staging says so, and comes back by itself once there is some",
  needsRoot,
  async (t) => {
    const { cluster, east, west, place } = await startSmall(t);
    await writeBlocks(east, upTo(10));
    const pid = west.pid();
    const told = async (): Promise<(string | undefined)[]> =>
      (await west.events()).filter(({ kind }) => kind === "staging").map(({ to }) => to);

    // The second time it knows no less than the first.
    for (const round of [1, 2]) {
      const free = fill(west.data);
      const blocks = upTo(20).map((block) => block + 20 * round);
      await writeBlocks(east, blocks.slice(0, 10));
      const isSaid = /staging here cannot be written: .*ENOSPC.* goes on once there is room/;
      const behind = await east.until("the copy has no room", ({ copies: [copy] }) =>
        isSaid.test(copy?.why ?? ""),
      );
      assert.ok((behind.copies[0]?.lagWrites ?? 0) > 0, "what it lacks is behind, not lost");
      assert.match((await west.copy("west")).why, isSaid);
      for (const site of ["east", "west"]) {
        const { stdout } = await cluster.cli("why", "bank", "--site", site);
        assert.match(stdout, /helps: .*free some space or quota there .*df at west/);
      }
      // Hosts do not pay for it, and nobody is told again and again.
      await writeBlocks(east, blocks.slice(10));
      const expected = upTo(round).flatMap((_, i) =>
        i + 1 < round ? ["failed", "ok"] : ["failed"],
      );
      assert.deepEqual(await told(), expected);
      free();
      await east.until("the copy has caught up", ({ copies: [copy] }) => {
        return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
      });
      await assertEqualImages(east.image(), place);
      assert.deepEqual(await told(), [...expected, "ok"]);
    }
    assert.equal(west.pid(), pid, "the same process");
    count("row 41", { faultsInjected: 2, effectsSeen: 2 });
  },
);

test(
  "row 41, row 48: a copy that has no room to make a staging log starts all the same, and makes it once there is some",
  needsRoot,
  async (t) => {
    const { east, west, place } = await startSmall(t);
    await writeBlocks(east, upTo(10));
    await west.kill();
    for (const path of segmentsOf(west, "staging")) fs.rmSync(path);
    const free = fill(west.data);
    await west.start();
    const isSaid = /the staging log here cannot be opened: .*ENOSPC.* once there is room/;
    await east.until("the copy has no room", ({ copies: [copy] }) => isSaid.test(copy?.why ?? ""));
    assert.match((await west.copy("west")).why, isSaid);
    const pid = west.pid();
    free();
    await east.until("the copy has caught up", ({ copies: [copy] }) => {
      return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
    });
    await assertEqualImages(east.image(), place);
    assert.equal(west.pid(), pid, "the same process");
    count("row 41", { faultsInjected: 1, effectsSeen: 1 });
  },
);
