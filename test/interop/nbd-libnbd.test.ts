import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createMemoryVolume } from "../support/memory-volume.ts";
import { startNbdBench } from "../support/nbd-bench.ts";
import { missing } from "../support/needs.ts";
import { runGood } from "../support/run-command.ts";

const MiB = 1 << 20;
const needs = { skip: missing("libnbd-bin") };

test("NBD: nbdinfo --json shows size, flags and block sizes as announced", needs, async (t) => {
  const bench = await startNbdBench(t, [createMemoryVolume("bank", "data", 5 * MiB + 1)]);
  const text = await runGood("nbdinfo", ["--json", bench.uri("bank/data")]);
  const shown: unknown = JSON.parse(text);
  assertFields(shown, { protocol: "newstyle-fixed", structured: true });
  assertFields((shown as { exports: unknown[] }).exports[0], {
    "export-name": "bank/data",
    "export-size": 5 * MiB + 1,
    contexts: ["base:allocation"],
    is_rotational: false,
    is_read_only: false,
    can_cache: false,
    can_df: true,
    can_fast_zero: false,
    can_flush: true,
    can_fua: true,
    can_multi_conn: true,
    can_trim: true,
    can_zero: true,
    block_size_minimum: 1,
    block_size_preferred: 4096,
    block_size_maximum: 32 * MiB,
  });
});

test("NBD: nbdinfo --list names every export that can be entered", needs, async (t) => {
  const volumes = ["data", "log"].map((name) => createMemoryVolume("bank", name, MiB));
  const bench = await startNbdBench(t, volumes);
  bench.exports.refused.set(
    "shop/web",
    "group shop is secondary at this site, its primary is west",
  );
  const stdout = await runGood("nbdinfo", ["--list", bench.uri("")]);
  assert.match(stdout, /export="bank\/data":/);
  assert.match(stdout, /export="bank\/log":/);
  assert.doesNotMatch(stdout, /shop/);
});

test("NBD: nbdinfo --map tells holes from data", needs, async (t) => {
  const volume = createMemoryVolume("bank", "data", 4 * MiB);
  const bench = await startNbdBench(t, [volume]);
  const write = `h.pwrite(b"x" * 8192, 1048576)`;
  await runGood("nbdsh", ["-u", bench.uri("bank/data"), "-c", write]);
  const map: unknown = JSON.parse(
    await runGood("nbdinfo", ["--map", "--json", bench.uri("bank/data")]),
  );
  assert.deepEqual(map, [
    { offset: 0, length: MiB, type: 3, description: "hole,zero" },
    { offset: MiB, length: 8192, type: 0, description: "data" },
    { offset: MiB + 8192, length: 3 * MiB - 8192, type: 3, description: "hole,zero" },
  ]);
});

test(
  "NBD: nbdcopy there and back again, over several connections, keeps every byte",
  needs,
  async (t) => {
    const bench = await startNbdBench(t, [createMemoryVolume("bank", "data", 24 * MiB)]);
    const source = join(bench.folder, "source");
    const target = join(bench.folder, "target");
    const bytes = Buffer.alloc(24 * MiB);
    for (let at = 0; at < 8 * MiB; at += 4) bytes.writeUInt32LE((at * 2_654_435_761) >>> 0, at);
    bytes.fill("end", 23 * MiB);
    writeFileSync(source, bytes);
    await runGood("nbdcopy", ["--connections=4", "--flush", source, bench.uri("bank/data")]);
    await runGood("nbdcopy", ["--connections=4", bench.uri("bank/data"), target]);
    assert.ok(readFileSync(target).equals(bytes));
    // nbdcopy makes as many connections as it has threads, and multi-conn lets it.
    assert.ok(bench.server.counters().connectionsTotal >= 4);
  },
);

function assertFields(actual: unknown, expected: Record<string, unknown>): void {
  assert.ok(typeof actual === "object" && actual !== null);
  const found = new Map(Object.entries(actual));
  for (const [key, value] of Object.entries(expected)) assert.deepEqual(found.get(key), value, key);
}
