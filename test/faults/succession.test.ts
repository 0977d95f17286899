import assert from "node:assert/strict";
import { test } from "node:test";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";

const MiB = 1024 * 1024;
const volumeMiB = 64;

// Two mirrors and a copy that follows: whichever takes over, the others follow it by what may differ, and by no more.

for (const heir of ["west", "north", "vault"]) {
  test(`row 13, I29, I16: two sync copies and one async, the primary lost, ${heir} promoted: no full copy, byte-equal`, async (t) => {
    const cluster = await startCluster(t, {
      sites: ["east", "west", "north", "vault"],
      groups: { bank: { data: `${volumeMiB}MiB` } },
      modes: { vault: "async" },
    });
    const [east, next] = [cluster.site("east"), cluster.site(heir)];
    // Nearly all of the volume has content: a full copy could not be mistaken for anything else. The writer has the rest.
    const host = await connectHost(east.nbd, "bank/data");
    for (let number = 4; number < volumeMiB; number += 1)
      assert.equal(await host.write(number * MiB, Buffer.alloc(MiB, number + 1)), 0);
    assert.equal(await host.flush(), 0);
    host.close();
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 500, flushEvery: 50 });
    await writer.more(500);
    // The copies hear of it with the next probe, and what is open at any of them is compared.
    for (const site of ["east", "west", "north", "vault"])
      await cluster
        .site(site)
        .until("what is cold is closed", ({ openGranules }) => openGranules <= 8);
    await east.kill();
    await writer.ended;

    const promoted = await cluster.cli("promote", "bank", "--site", heir, "--force");
    assert.equal(promoted.code, 0, promoted.stderr);
    await next.until("serves", ({ serving }) => serving);
    const others = ["west", "north", "vault"].filter((site) => site !== heir);
    const again = await connectHost(next.nbd, "bank/data");
    assert.equal(await again.write(30 * MiB, Buffer.alloc(MiB, 0x5a)), 0);
    assert.equal(await again.flush(), 0);
    again.close();
    await east.start();
    for (const site of [...others, "east"]) {
      await next.until(`${site} has everything`, ({ copies }) => {
        const copy = copies.find((one) => one.site === site);
        const isWell = copy?.state === "synchronized" || copy?.state === "streaming";
        return isWell && copy.lagWrites + copy.applyLagWrites === 0;
      });
      await assertEqualImages(next.image(), cluster.site(site).image());
      const { resyncComparedBytes, resyncSentBytes } = await next.copy(site);
      const bytes = `${site}: ${resyncComparedBytes} compared, ${resyncSentBytes} sent`;
      assert.ok(resyncComparedBytes <= (volumeMiB / 2) * MiB, bytes);
      assert.ok(resyncSentBytes <= (volumeMiB / 4) * MiB, bytes);
    }
    // What hosts were answered is at every mirror; a copy that followed may lack the last of it.
    if (heir !== "vault") await writer.check(imageReader(next.image()));
    count("row 13", { faultsInjected: 1, effectsSeen: 1 });
  });
}
