import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { createMemoryVolume } from "../support/memory-volume.ts";
import { startNbdBench } from "../support/nbd-bench.ts";
import { missing } from "../support/needs.ts";
import { runGood } from "../support/run-command.ts";
import { until } from "../support/until.ts";

const MiB = 1 << 20;
const needs = { skip: missing("fio") };

for (const [kind, size] of [
  ["randwrite", "4k"],
  ["randwrite", "1k-300k"],
  ["write", "4m"],
] as const) {
  test(`NBD: fio finds by checksum everything it wrote, ${kind} of ${size}`, needs, async (t) => {
    const bench = await startNbdBench(t, [createMemoryVolume("bank", "data", 32 * MiB)]);
    const blocks = size.includes("-")
      ? [`--bsrange=${size}`, "--blockalign=512"]
      : [`--bs=${size}`];
    const verify = ["--verify=crc32c", "--do_verify=1", "--verify_fatal=1"];
    const depth = ["--iodepth=32", "--size=32m", `--rw=${kind}`];
    const args = ["--name=job", "--ioengine=nbd", `--uri=${bench.uri("bank/data")}`, "--fsync=64"];
    await runGood("fio", [...args, ...depth, ...blocks, ...verify]);
    assert.deepEqual(bench.errors, []);
    assert.equal(bench.server.counters().heldBytes, 0);
  });
}

test(
  "row 55: fio dies with requests in flight, and everything held for it is let go",
  needs,
  async (t) => {
    const volume = createMemoryVolume("bank", "data", 16 * MiB);
    const other = createMemoryVolume("shop", "web", MiB);
    const bench = await startNbdBench(t, [volume, other]);
    volume.held = true;
    const args = [
      "--name=job",
      "--ioengine=nbd",
      `--uri=${bench.uri("bank/data")}`,
      "--rw=randwrite",
    ];
    // One process, so that nobody is left to hold the connection.
    const depth = [
      "--thread",
      "--bs=4k",
      "--iodepth=1000",
      "--size=16m",
      "--time_based",
      "--runtime=60",
    ];
    const fio = spawn("fio", [...args, ...depth], { stdio: "ignore" });
    await until("a thousand requests are in flight", () => volume.waiting.length === 1000);
    assert.ok(bench.server.counters().heldBytes >= 1000 * 4096);
    fio.kill("SIGKILL");
    await once(fio, "exit");
    volume.release();
    await until("the connections are gone", () => bench.server.counters().connections === 0);
    const { heldBytes, requestsInFlight, poll } = bench.server.counters();
    assert.deepEqual(
      { heldBytes, requestsInFlight, open: poll.open },
      { heldBytes: 0, requestsInFlight: 0, open: 0 },
    );
    await runGood("fio", [
      "--name=next",
      "--ioengine=nbd",
      `--uri=${bench.uri("shop/web")}`,
      "--rw=write",
      "--size=1m",
    ]);
  },
);
