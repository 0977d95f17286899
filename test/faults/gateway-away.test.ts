import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { blockBytes, imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import {
  assertDrained,
  deviceOf,
  hostOf,
  metricsOf,
  startGatewayBank,
} from "../support/gateway-bank.ts";
import { assertEqualImages } from "../support/images.ts";
import { missing } from "../support/needs.ts";
import { until } from "../support/until.ts";

// A gateway whose device is away for long, comes back slowly, or answers with errors (SPEC-gateway.md), on real processes.

const skip = missing("nbdkit");
const MiB = 1 << 20;
/** How long the device is away under load; a long run asks for more: `ANTIPODE_AWAY_SECONDS=60 npm test -- gateway-away`. */
const awayMs = Number(process.env["ANTIPODE_AWAY_SECONDS"] ?? 10) * 1000;

for (const [link, mode] of [
  ["unix", "cycle"],
  ["tcp", "async"],
] as const)
  test(
    `A7, A15, A16: ${mode}: over ${link}, the device is away for ${awayMs / 1000} s under load: no host error, reads that need it wait, and it gets what was acked`,
    { skip },
    async (t) => {
      // However fast hosts are, it is not full in that time.
      const groupLines = ["journal: { size: 8GiB, overflow: trip }"];
      const bank = await startGatewayBank(t, { mode, link, groupLines });
      const { east, west, device, path } = bank;
      const host = await hostOf(bank);
      t.after(() => host.close());
      const bytes = Buffer.alloc(blockBytes, 0x3c);
      assert.equal(await host.write(12 * MiB, bytes), 0);
      await assertDrained(bank);
      const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, flushEvery: 7 });
      await writer.more(500);
      await device.kill();
      await east.until("the device is missed", ({ volumes }) => volumes[0]?.link === "device-down");
      // The copy has it all: what fills the journal is what the device lacks.
      await until("it is foretold when the journal is full", async () =>
        /^antipode_group_journal_overflow_seconds\{.*\} \d/m.test(await metricsOf(bank, "east")),
      );
      const acked = writer.acked();
      // The fault's own length, not a wait for anything.
      await delay(awayMs);
      await writer.more(500);
      assert.ok(((await deviceOf(bank)).deviceLagBytes ?? 0) > 0);
      assert.ok(writer.acked() > acked);
      const metrics = await metricsOf(bank, "east");
      assert.match(metrics, /^antipode_volume_device_link\{.*link="device-down"\} 1$/m);
      assert.match(metrics, /^antipode_volume_device_lag_bytes\{.*\} [1-9]\d*$/m);
      const read = host.read(12 * MiB, blockBytes);
      await device.start();
      assert.deepEqual(await read, bytes, "only the device has it: the read waited for that");
      await writer.more(200);
      await writer.stop();
      assert.deepEqual(writer.errors, []);
      await assertDrained(bank);
      await writer.check(imageReader(path));
      await east.until("west has applied everything", ({ copies }) => {
        const [copy] = copies;
        return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
      });
      await assertEqualImages(path, west.image("data"));
      count("row 22", { faultsInjected: 1, effectsSeen: 1 });
    },
  );

test(
  "row 52, A16, I32: killed while it brings its device up to date, a gateway does so again, and nothing acked is lost",
  { skip },
  async (t) => {
    // So narrow that bringing it up to date takes seconds, whatever the machine.
    const bank = await startGatewayBank(t, {
      mode: "async",
      filters: ["--filter=rate", "--filter=cache"],
      settings: () => ["rate=16M"],
    });
    const { east, device, path } = bank;
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 1500 });
    await writer.more(100);
    await device.kill();
    await east.until("the device is missed", ({ volumes }) => volumes[0]?.link === "device-down");
    await writer.more(2000);
    await device.start();
    await east.until("it is being brought up to date", ({ volumes }) => {
      const [data] = volumes;
      return data?.link === "up" && (data.deviceLagBytes ?? 0) > 0;
    });
    await east.kill();
    await writer.ended;
    await east.start();
    await east.until("it serves", ({ serving }) => serving);
    const again = await hostOf(bank);
    t.after(() => again.close());
    await writer.check((offset, length) => again.read(offset, length));
    await assertDrained(bank);
    await writer.check(imageReader(path));
    count("row 52", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test(
  "row 39, A16: a device that answers writes with EIO is left alone and tried again; hosts see nothing of it",
  { skip },
  async (t) => {
    const bank = await startGatewayBank(t, {
      mode: "async",
      filters: ["--filter=error", "--filter=cache"],
      settings: (folder) => [
        "error-pwrite=EIO",
        "error-pwrite-rate=100%",
        `error-pwrite-file=${join(folder, "failing")}`,
      ],
    });
    const { east, path, deviceFolder } = bank;
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 300, flushEvery: 7 });
    await writer.more(200);
    fs.writeFileSync(join(deviceFolder, "failing"), "");
    await writer.more(500);
    await east.until("the device is left alone", ({ volumes }) => {
      const [data] = volumes;
      return data?.link === "device-down" && /answers with error 5/.test(data.why ?? "");
    });
    await writer.more(500);
    assert.ok(((await deviceOf(bank)).deviceLagBytes ?? 0) > 0);
    fs.rmSync(join(deviceFolder, "failing"));
    await writer.more(100);
    await writer.stop();
    assert.deepEqual(writer.errors, []);
    await assertDrained(bank);
    await writer.check(imageReader(path));
    count("row 39", { faultsInjected: 1, effectsSeen: 1 });
  },
);
