import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { samplePrimary } from "../../test/support/sample-primary.ts";
import { overflowed } from "./overflow.ts";
import { resumeMember } from "./operator.ts";
import type { PrimaryEffect } from "./primary-events.ts";

test("decision 10, A10: a full journal that ends a copy's resync over and over leaves it alone, until its operator resumes it", () => {
  const { primary, west } = samplePrimary();
  const out: PrimaryEffect[] = [];
  west.stage = "synchronized";
  overflowed(primary, west, "the journal is full", out);
  assert.equal(west.record.stoppedWhy, "", "a copy that was well is resynced");
  for (let resync = 1; resync <= limits.resyncOverflowsMax; resync += 1) {
    assert.equal(west.record.stoppedWhy, "");
    west.stage = "resync";
    overflowed(primary, west, "the journal is full", out);
  }
  assert.match(west.record.stoppedWhy, /^link slower than writes/);
  const told = out.flatMap((effect) => (effect.kind === "event" ? [effect.event.to] : []));
  assert.equal(told.at(-1), "stopped");
  resumeMember(primary, west, out);
  assert.equal(west.record.stoppedWhy, "");
  assert.ok(
    out.some(({ kind }) => kind === "record"),
    "on record",
  );
});

test("decision 10: a resync that ended well makes the count begin anew", () => {
  const { primary, west } = samplePrimary();
  const out: PrimaryEffect[] = [];
  for (let round = 0; round < 4; round += 1) {
    west.stage = "resync";
    overflowed(primary, west, "the journal is full", out);
    west.stage = "synchronized";
    overflowed(primary, west, "the journal is full", out);
  }
  assert.equal(west.record.stoppedWhy, "");
});
