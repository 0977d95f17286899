import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { benchRegionBytes } from "../../test/support/bench-content.ts";
import {
  ask,
  createServingBench,
  lose,
  run,
  settle,
  submit,
  take,
} from "../../test/support/primary-bench.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { stepCopy } from "./copy.ts";
import { createCopy } from "./copy-state.ts";
import type { CopyEffect } from "./copy-state.ts";
import { createRegionMap, isMarked, markBytes, nextMarked } from "./region-map.ts";

// Volumes become larger under the machines of a primary and of a copy.

test("I16: a volume grows under open and dirty regions: both stay marked, what is new is not, and may be marked from then on", () => {
  const bench = createServingBench({ onLoss: ["continue", "continue"] });
  const [west, vault] = bench.members;
  const [data, log] = bench.primary.volumes;
  if (west === undefined || vault === undefined || data === undefined || log === undefined)
    assert.fail("the bench has two members and two volumes");
  lose(bench, west);
  const request = ask(bench, "write", { region: 3 });
  run(bench, "turnEnd");
  settle(bench);
  assert.equal(bench.outcomes.get(request), "ok");
  const dirty = bench.primary.members[0]?.dirty?.[0] ?? assert.fail("west lacks something");
  const marks = dirty.count;
  const [before, logBefore] = [data.bytes, log.bytes];
  bench.log.length = 0;
  submit(bench, { kind: "grown", volume: 0, bytes: before + 40 * MiB });
  assert.deepEqual(bench.log, [], "nothing is lost, sent or recorded for it");
  assert.equal(bench.primary.members[1]?.stage, "synchronized");
  assert.equal(data.bytes, before + 40 * MiB);
  assert.equal(log.bytes, logBefore);
  assert.equal(dirty.count, marks);
  assert.ok(isMarked(dirty, 3));
  assert.equal(nextMarked(dirty, before / benchRegionBytes), -1, "what is new is not dirty");
  assert.equal(data.openMap.units, Math.ceil(data.bytes / MiB));
  // What is lost from now on lacks the new part, too.
  lose(bench, vault);
  const tail = data.bytes - 4096;
  markBytes(dirty, tail, 4096);
  assert.ok(isMarked(dirty, Math.floor(tail / benchRegionBytes)));
  submit(bench, { kind: "grown", volume: 0, bytes: before });
  assert.equal(data.bytes, before + 40 * MiB, "it never shrinks");
});

test("a copy takes frames of the new part, opens its granules, and saves what it held for its preserved point", () => {
  const volumes = [{ name: "data", bytes: 4 * MiB }];
  const record = sampleRecord({ site: "west", role: "secondary", volumes });
  const openMap = createRegionMap(4 * MiB, MiB);
  const saved = [createRegionMap(4 * MiB, 4096)];
  const terms = { isKept: true, stepBytes: MiB, saved, branchSaved: undefined };
  const copy = createCopy(record, [openMap], terms);
  const out: CopyEffect[] = [];
  stepCopy(copy, { kind: "grown", volume: 0, bytes: 9 * MiB }, out);
  assert.deepEqual(out, []);
  assert.equal(copy.volumes[0]?.bytes, 9 * MiB);
  assert.equal(openMap.units, 9);
  assert.equal(copy.preserve?.volumes[0]?.bytes, 9 * MiB);
  assert.equal(saved[0]?.units, (9 * MiB) / 4096);
  assert.equal(saved[0]?.count, 0);
  stepCopy(copy, { kind: "grown", volume: 0, bytes: 5 * MiB }, out);
  assert.equal(copy.volumes[0]?.bytes, 9 * MiB, "it never shrinks");
});

test("a volume grows behind a verify: what the walk does not come by is not told as what it would compare", () => {
  const bench = createServingBench();
  const [data] = bench.primary.volumes;
  const before = bench.primary.volumes.reduce((sum, { bytes }) => sum + bytes, 0);
  submit(bench, { kind: "verify", member: 0, isRepairing: false });
  const verify = bench.primary.members[0]?.verify ?? assert.fail("there is a walk");
  const west = bench.members[0] ?? assert.fail("the bench has a member");
  for (let i = 0; verify.cursorVolume === 0 && i < 1000; i += 1) {
    const next = bench.pending.keys().next().value;
    if (next === undefined) take(bench, west);
    else run(bench, next);
  }
  assert.equal(verify.cursorVolume, 1, "it is past the first volume");
  submit(bench, { kind: "grown", volume: 0, bytes: (data?.bytes ?? 0) + 40 * MiB });
  settle(bench);
  assert.equal(verify.isRunning, false);
  assert.equal(verify.comparedBytes, before);
  assert.equal(verify.totalBytes, before);
});
