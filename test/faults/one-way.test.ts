import assert from "node:assert/strict";
import { test } from "node:test";
import { raised } from "#ports/events.ts";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { assertEqualImages } from "../support/images.ts";
import { startLinkedCluster } from "../support/linked-cluster.ts";
import { connectHost } from "../support/nbd-host.ts";
import { until } from "../support/until.ts";

// One of two sites hears the other, and is not heard itself.

for (const mode of ["sync", "async"] as const) {
  for (const deaf of ["west", "east"] as const) {
    test(`row 24, I28, I29: mode ${mode}: ${deaf} hears nothing and is heard: one primary serves throughout, and after healing there is one history`, async (t) => {
      const { cluster, toWest, toEast } = await startLinkedCluster(t, {
        groups: { bank: { data: "16MiB" } },
        modes: { west: mode },
        copies: { west: "probe: 100ms, timeout: 2s" },
      });
      const [east, west] = [cluster.site("east"), cluster.site("west")];
      const writer = await startAckedWriter({ socket: east.nbd, blocks: 300, flushEvery: 50 });
      await writer.more(200);
      const turn = (isOn: boolean): void => {
        if (deaf === "west") [toWest.isHoleForth, toEast.isHoleBack] = [isOn, isOn];
        else [toWest.isHoleBack, toEast.isHoleForth] = [isOn, isOn];
      };
      turn(true);
      // Questions without answers are a silence, too: both have lost the other, and hosts go on.
      await cluster.copyIs("east", "west", mode === "sync" ? "fractured" : "buffering");
      const isRaised = async (): Promise<boolean> =>
        (await west.events()).some(({ kind }) => kind === raised.nodeFailed);
      if (deaf === "west") await until("west misses its primary", isRaised);
      else await west.until("nobody feeds it", ({ copies: [own] }) => own?.isFed === false);
      await writer.more(200);
      const alone = await west.group();
      assert.deepEqual([alone.role, alone.serving], ["secondary", false]);
      await assert.rejects(connectHost(west.nbd, "bank/data"));
      const { role, serving } = await east.group();
      assert.deepEqual([role, serving], ["primary", true]);

      turn(false);
      // Parts of frames are lost: no network gives these connections back as they were.
      const cut = toWest.cut() + toEast.cut();
      await cluster.copyIs("east", "west", mode === "sync" ? "synchronized" : "streaming");
      await writer.more(100);
      await writer.stop();
      assert.deepEqual(writer.errors, []);
      await east.until("west has it all", ({ copies: [copy] }) => {
        return copy?.lagWrites === 0 && copy.applyLagWrites === 0 && copy.dirtyBytes === 0;
      });
      await writer.check(imageReader(west.image()));
      await assertEqualImages(east.image(), west.image());
      for (const site of [east, west]) assert.equal((await site.group()).generation, 1);
      count("row 24", { faultsInjected: 1, effectsSeen: cut });
    });
  }
}
