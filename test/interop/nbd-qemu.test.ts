import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createMemoryVolume } from "../support/memory-volume.ts";
import { startNbdBench } from "../support/nbd-bench.ts";
import { missing } from "../support/needs.ts";
import { runCommand, runGood } from "../support/run-command.ts";

const MiB = 1 << 20;
const needs = { skip: missing("qemu-utils") };

test("NBD: qemu-img convert, compare and map agree with what was written", needs, async (t) => {
  const volume = createMemoryVolume("bank", "data", 8 * MiB);
  const bench = await startNbdBench(t, [volume]);
  const source = join(bench.folder, "source.raw");
  const bytes = Buffer.alloc(8 * MiB);
  bytes.fill("qemu", MiB, 3 * MiB);
  writeFileSync(source, bytes);
  const uri = bench.uri("bank/data");
  await runGood("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", source, uri]);
  assert.ok(Buffer.from(volume.content).equals(bytes));
  await runGood("qemu-img", ["compare", "-f", "raw", "-F", "raw", source, uri]);
  const map = JSON.parse(await runGood("qemu-img", ["map", "--output=json", "-f", "raw", uri])) as {
    start: number;
    length: number;
    data: boolean;
  }[];
  const data = map.filter((each) => each.data).map(({ start, length }) => ({ start, length }));
  assert.deepEqual(data, [{ start: MiB, length: 2 * MiB }]);
});

test(
  "NBD: qemu-io writes, zeroes, discards and reads patterns, with and without FUA",
  needs,
  async (t) => {
    const volume = createMemoryVolume("bank", "data", 8 * MiB);
    const bench = await startNbdBench(t, [volume]);
    const commands = [
      "write -P 0xaa 0 1M",
      "write -f -P 0xbb 4096 512",
      "write -z 8192 4096",
      "write -z -u 65536 65536",
      "discard 131072 65536",
      "aio_write -P 0xcc 2M 1M",
      "aio_flush",
      "flush",
      "read -P 0xaa 0 4096",
      "read -P 0xbb 4096 512",
      "read -P 0 8192 4096",
      "read -P 0xcc 2M 1M",
    ];
    const args = commands.flatMap((command) => ["-c", command]);
    const text = await runGood("qemu-io", ["-f", "raw", ...args, bench.uri("bank/data")]);
    assert.doesNotMatch(text, /failed|mismatch/i);
    assert.ok(volume.seen.some((each) => each.kind === "write" && each.fua));
    assert.ok(volume.seen.some((each) => each.kind === "zero" && !each.mayPunch));
    assert.ok(volume.seen.some((each) => each.kind === "zero" && each.mayPunch));
  },
);

test("NBD: a refused export and an unknown one fail with the reason in words", needs, async (t) => {
  const bench = await startNbdBench(t, [createMemoryVolume("bank", "data", MiB)]);
  bench.exports.refused.set(
    "shop/web",
    "group shop is secondary at this site, its primary is west",
  );
  const refused = await runCommand("qemu-img", ["info", bench.uri("shop/web")]);
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /group shop is secondary at this site, its primary is west/);
  const unknown = await runCommand("qemu-img", ["info", bench.uri("")]);
  assert.notEqual(unknown.code, 0);
  assert.match(unknown.stderr, /there is no default export; this site has bank\/data, shop\/web/);
});

test("NBD: qemu's client works over TCP as over the unix socket", needs, async (t) => {
  const bench = await startNbdBench(t, [createMemoryVolume("bank", "data", MiB)]);
  const uri = `nbd://127.0.0.1:${bench.port}/bank/data`;
  const args = ["-f", "raw", "-c", "write -P 1 0 1M", "-c", "read -P 1 0 1M", uri];
  assert.doesNotMatch(await runGood("qemu-io", args), /failed/i);
});
