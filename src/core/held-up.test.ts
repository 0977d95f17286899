import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { samplePolicy, samplePrimary } from "../../test/support/sample-primary.ts";
import { sampleRequest } from "../../test/support/sample-request.ts";
import { whyHeldUp } from "./held-up.ts";
import type { HeldUp } from "./held-up.ts";
import { writesHeldUp } from "./order.ts";
import { lossTable, policyTable } from "./policy.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import { step } from "./primary.ts";
import { strictVerdict } from "./strict.ts";

const enospc = "taking room for /d/bank/journal-1.log: no space left on device (ENOSPC)";

test("what holds writes up has one sentence for each of its cases, and scripts that read it find the same words as ever", () => {
  const sentences: readonly (readonly [HeldUp | undefined, string])[] = [
    [undefined, ""],
    [
      { by: "copy", copy: "west", onLoss: "stall", verdict: "wait" },
      "writes wait until copy west is back (onLoss: stall)",
    ],
    [
      { by: "copy", copy: "west", onLoss: "fail", verdict: "fail" },
      "writes are refused until copy west is back (onLoss: fail)",
    ],
    [
      { by: "copy", copy: "west", onLoss: "fail", verdict: "wait" },
      "writes wait until copy west is back (onLoss: fail)",
    ],
    [
      { by: "journal", keptFor: "copy", copy: "west", verdict: "fail" },
      "the journal is full of what west lacks; writes are refused",
    ],
    [
      { by: "journal", keptFor: "device", volume: "data", verdict: "wait" },
      "the journal is full of what the device of data lacks; writes wait",
    ],
    [
      { by: "journal", keptFor: "failed-volume", volume: "data", verdict: "wait" },
      "the journal is full of what data lacks, which has failed here; writes wait",
    ],
    [
      { by: "journal", keptFor: "images", verdict: "wait" },
      "the journal is full until the images here are synced; writes wait",
    ],
    [
      { by: "disk", said: enospc, verdict: "wait" },
      `the disk under the journal is full: ${enospc}; it goes on by itself once there is room; writes wait`,
    ],
  ];
  for (const [heldUp, words] of sentences) assert.equal(whyHeldUp(heldUp), words);
});

/** A primary that serves, with a copy that is not there, and what a write of a host gets. */
function createRig(loss: keyof typeof lossTable) {
  const { primary, west } = samplePrimary();
  const mode = policyTable[loss === "continue" ? "async" : "sync"];
  west.policy = samplePolicy({ site: "west", mode, loss: lossTable[loss] });
  primary.stage = "serving";
  primary.lsnReserved = 1_000;
  return {
    primary,
    west,
    write(): "go" | "wait" | "fail" {
      const out: PrimaryEffect[] = [];
      const request = sampleRequest("write");
      step(primary, { kind: "request", request }, out);
      if (primary.held.includes(request)) return "wait";
      return out.some(({ kind }) => kind === "reply") ? "fail" : "go";
    },
  };
}

test("I4: a strict copy that is away holds writes up, in the data as for hosts; a session that is being opened is waited for", () => {
  for (const [loss, verdict] of [
    ["stall", "wait"],
    ["fail", "fail"],
  ] as const) {
    const { primary, west, write } = createRig(loss);
    assert.deepEqual(writesHeldUp(primary), { by: "copy", copy: "west", onLoss: loss, verdict });
    assert.equal(strictVerdict(primary), verdict);
    assert.equal(write(), verdict);
    west.stage = "opening";
    const opening = { by: "copy", copy: "west", onLoss: loss, verdict: "wait" };
    assert.deepEqual(writesHeldUp(primary), opening);
    assert.equal(write(), "wait");
    west.stage = "synchronized";
    assert.equal(writesHeldUp(primary), undefined);
    west.stage = "none";
    west.record.paused = true;
    assert.equal(writesHeldUp(primary), undefined, "an operator has let hosts go on without it");
  }
});

test("row 40: a journal without room holds writes up, in the data as for hosts, and is told before a copy that is away", () => {
  for (const [overflow, verdict] of [
    ["stall", "wait"],
    ["fail", "fail"],
  ] as const) {
    const { primary, west, write } = createRig("continue");
    const { journal } = primary;
    assert.ok(journal);
    journal.overflow = overflow;
    primary.syncedLsn = 20;
    west.sets.completeLsn = 12;
    west.sets.completeSet = 90;
    assert.equal(writesHeldUp(primary), undefined);
    journal.bytesUsed = journal.bytesMax - limits.journalMarginBytes + 1;
    const byJournal = { by: "journal", keptFor: "copy", copy: "west", verdict };
    assert.deepEqual(writesHeldUp(primary), byJournal);
    assert.equal(write(), verdict);
    west.policy = samplePolicy({ site: "west", mode: west.policy.mode, loss: lossTable.stall });
    assert.deepEqual(writesHeldUp(primary), byJournal);
    journal.bytesUsed = 0;
    assert.equal(writesHeldUp(primary)?.by, "copy");
  }
});
