import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { count } from "../support/claims.ts";
import { createCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";
import { fill, mountSmall, needsRoot } from "../support/small-disk.ts";

// The disk under an image gets full, and the one under the journal does not: what is refused is in the journal all the same.

const enospc = 28;

test(
  "row 41, I31: a write that the image's full disk has refused does not come back with a start, behind the back of a copy that was brought up since",
  needsRoot,
  async (t) => {
    const small = await mountSmall(t, "16M");
    const image = join(small, "data.img");
    const cluster = await createCluster(t, {
      groups: { bank: { data: "64MiB" } },
      modes: { west: "async" },
      at: { bank: { data: { east: image } } },
    });
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    await cluster.start();
    await cluster.copyIs("east", "west", "streaming");
    const host = await connectHost(east.nbd, "bank/data");
    for (let i = 0; i < 8; i += 1)
      assert.equal(await host.write(i * MiB, Buffer.alloc(MiB, i + 1)), 0);
    const free = fill(small);
    // Half of it over what is there: a refused write may be there in part.
    const refused = 7.5 * MiB;
    assert.equal(await host.write(refused, Buffer.alloc(MiB, 0xee)), enospc);
    assert.equal(await host.write(40 * MiB, Buffer.alloc(MiB, 0xdd)), enospc);
    const isWhole = async (): Promise<void> => {
      await east.until("west has applied everything", ({ copies: [copy] }) => {
        const { state, lagWrites, applyLagWrites } = copy ?? {};
        return state === "streaming" && lagWrites === 0 && applyLagWrites === 0;
      });
    };
    await isWhole();
    const before = await host.read(refused, MiB);
    host.close();
    await east.kill();
    free();
    await east.start();
    await east.until("serves", ({ serving }) => serving);
    await isWhole();
    const again = await connectHost(east.nbd, "bank/data");
    assert.ok(before.equals(await again.read(refused, MiB)), "what hosts read has not changed");
    again.close();
    await east.stop();
    await west.stop();
    await assertEqualImages(image, west.image());
    count("row 41", { faultsInjected: 2, effectsSeen: 2 });
  },
);
