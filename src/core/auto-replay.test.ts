import assert from "node:assert/strict";
import { test } from "node:test";
import { isSilentFor, judgeAutoReplay, nextTryMs } from "./auto-replay.ts";
import type { AutoReplayFacts, BunkerHeard } from "./auto-replay.ts";

const vault: BunkerHeard = {
  site: "vault",
  replayAfterMs: 60_000,
  answers: true,
  isSame: true,
  silentMs: 90_000,
  endLsn: 100,
  activatedFor: undefined,
  isCalledOff: false,
};

const due: AutoReplayFacts = {
  site: "west",
  primary: "east",
  silentMs: 80_000,
  replayed: undefined,
  hindrance: "",
  paused: "",
  successor: undefined,
  bunkers: [vault],
  others: [],
  before: 0,
  turnMs: 10_000,
};

const replayed = { from: "vault", set: 3, lsn: 30, endLsn: 100, isWhole: true } as const;

function judge(more: Partial<AutoReplayFacts>) {
  return judgeAutoReplay({ ...due, ...more });
}

function withBunker(more: Partial<BunkerHeard>) {
  return judge({ bunkers: [{ ...vault, ...more }] });
}

/** Why it does not begin; fails where it does. */
function whyBarred(judged: ReturnType<typeof judge>): string {
  assert.ok(judged.kind === "barred", judged.kind);
  return judged.why;
}

test("U32: a replay begins by itself once everybody asked has been without the primary for as long as is written", () => {
  assert.deepEqual(judge({}), { kind: "due", from: "vault", afterMs: 60_000 });
  assert.deepEqual(judge({ silentMs: 60_000 }).kind, "due");
  assert.deepEqual(judge({ silentMs: 59_999 }), { kind: "waits", from: "vault", inMs: 1 });
  assert.deepEqual(withBunker({ silentMs: 20_000 }), {
    kind: "waits",
    from: "vault",
    inMs: 40_000,
  });
  const others = [{ site: "north", silentMs: 55_000 }];
  assert.deepEqual(judge({ others }), { kind: "waits", from: "vault", inMs: 5000 });
});

test("U32: nothing is to begin where nobody wants it, the primary is heard, or the log has been replayed", () => {
  assert.equal(judge({ bunkers: [] }).kind, "none");
  assert.equal(withBunker({ replayAfterMs: undefined }).kind, "none");
  assert.equal(judge({ silentMs: 0 }).kind, "none");
  assert.equal(judge({ replayed: { ...replayed, lsn: 100, isAutomatic: true } }).kind, "none");
  assert.equal(judge({ replayed }).kind, "none", "an operator gave it that end");
  assert.equal(judge({ replayed: { ...replayed, isAutomatic: true } }).kind, "due", "cut short");
  assert.ok(!isSilentFor(0, 0), "a primary that is heard is not silent, whatever is written");
});

test("U32, I28: it does not begin where the bunker hears the primary, or where that is not known (decision 6)", () => {
  assert.match(whyBarred(withBunker({ silentMs: 0 })), /^vault hears east, which lives/);
  assert.match(
    whyBarred(withBunker({ silentMs: undefined })),
    /does not say whether it hears east/,
  );
  assert.match(whyBarred(withBunker({ answers: false, silentMs: 0 })), /vault does not answer/);
  assert.match(whyBarred(judge({ others: [{ site: "north", silentMs: 0 }] })), /^north hears east/);
  const early = judge({ silentMs: 10, bunkers: [{ ...vault, silentMs: 0 }] });
  assert.ok(early.kind === "barred" && !early.isTime, "nobody needs to be told yet");
});

test("U32, B9: an operator's word stops it: called off at the copy or the bunker, or paused", () => {
  const isCancelled = { ...replayed, isAutomatic: true, isCancelled: true } as const;
  assert.match(whyBarred(judge({ replayed: isCancelled })), /called a replay off/);
  assert.match(whyBarred(withBunker({ isCalledOff: true })), /called a replay off/);
  assert.match(whyBarred(judge({ paused: "west" })), /paused west/);
});

test("U32, B17: it does not begin over another generation, for a copy that has no state to go on from, or in another's place", () => {
  assert.match(whyBarred(judge({ successor: "north" })), /north is of a generation/);
  assert.match(whyBarred(judge({ hindrance: "the image here is out-of-sync" })), /out-of-sync/);
  assert.match(whyBarred(withBunker({ isSame: false })), /another generation/);
  assert.match(whyBarred(withBunker({ activatedFor: "north" })), /vault brings north up/);
  assert.equal(withBunker({ activatedFor: "west" }).kind, "due", "it goes on");
});

test("U32, B12: of several logs the longest is replayed, once all of them answer", () => {
  const attic = { ...vault, site: "attic", endLsn: 120 };
  assert.deepEqual(judge({ bunkers: [vault, attic] }), {
    kind: "due",
    from: "attic",
    afterMs: 60_000,
  });
  const even = { ...attic, endLsn: 100, replayAfterMs: undefined };
  assert.deepEqual(judge({ bunkers: [even, vault] }), {
    kind: "due",
    from: "vault",
    afterMs: 60_000,
  });
  assert.match(
    whyBarred(judge({ bunkers: [vault, { ...attic, answers: false }] })),
    /attic does not/,
  );
  const manual = { ...attic, replayAfterMs: undefined };
  assert.match(whyBarred(judge({ bunkers: [vault, manual] })), /attic has the longest log/);
});

test("U32: copies take turns in the order of the file, those that answer", () => {
  assert.deepEqual(judge({ before: 2 }).kind, "due");
  assert.deepEqual(judge({ before: 3 }), { kind: "waits", from: "vault", inMs: 10_000 });
});

test("a replay that came to nothing is tried again less and less often", () => {
  assert.deepEqual(
    [0, 1, 2, 40].map((tries) => nextTryMs(tries, 2000, 9000)),
    [2000, 4000, 8000, 9000],
  );
});
