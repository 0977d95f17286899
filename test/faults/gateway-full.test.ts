import assert from "node:assert/strict";
import { test } from "node:test";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { assertDrained, startFiller, startGatewayBank } from "../support/gateway-bank.ts";
import { assertEqualImages } from "../support/images.ts";
import { missing } from "../support/needs.ts";

// The journal in front of a device fills while that is away: nobody else has what the device lacks (decision 13).

const skip = missing("nbdkit");

for (const overflow of ["stall", "trip"] as const)
  test(
    `row 40, I25, decision 13: overflow ${overflow}: a journal that is full of what a device lacks stalls hosts, trips and refuses nothing, and goes on when the device is back`,
    { skip },
    async (t) => {
      const bank = await startGatewayBank(t, {
        mode: "async",
        groupLines: [`journal: { size: 32MiB, overflow: ${overflow} }`],
      });
      const { east, west, device, path } = bank;
      // Long writes beside those whose content is judged: they fill the journal in seconds.
      const writer = await startAckedWriter({ socket: east.nbd, blocks: 300 });
      await writer.more(100);
      await device.kill();
      await east.until("the device is missed", ({ volumes }) => volumes[0]?.link === "device-down");
      const filler = await startFiller(t, bank);
      await east.until("it fills", ({ journal }) => journal.bytesUsed > journal.bytesMax / 3);
      const full = await east.until(
        "the journal is full",
        ({ journal, why }) => journal.stalledWrites > 0 && /journal is full/.test(why),
      );
      assert.match(full.why, /full of what the device of data lacks; writes wait/);
      const forDevice = { by: "journal", keptFor: "device", volume: "data", verdict: "wait" };
      assert.deepEqual(full.writesHeldUp, forDevice);
      assert.ok(full.journal.bytesUsed <= full.journal.bytesMax, "I25");
      const acked = writer.acked();
      await device.start();
      await writer.more(200);
      assert.ok(writer.acked() > acked);
      assert.deepEqual(await filler.stop(), [], "no write of the filler failed");
      await writer.stop();
      assert.deepEqual(writer.errors, [], "hosts waited, and no more");
      await assertDrained(bank);
      await writer.check(imageReader(path));
      const events = await east.events();
      assert.ok(
        events.every(({ to }) => to !== "tripped"),
        "the copy was fed all the time",
      );
      await east.until("west has applied everything", ({ copies }) => {
        const [copy] = copies;
        return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
      });
      await assertEqualImages(path, west.image("data"));
      count("row 40", { faultsInjected: 1, effectsSeen: 1 });
    },
  );
