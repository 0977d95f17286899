import assert from "node:assert/strict";
import { test } from "node:test";
import type { GroupRecord } from "./group-record.ts";
import { withTenure } from "./history.ts";
import { heldThrough, isWholeImage, planPromotion } from "./promotion.ts";
import type { PromotionFacts } from "./promotion.ts";

function facts(
  record: Partial<GroupRecord>,
  rest: Partial<Omit<PromotionFacts, "record">> = {},
): PromotionFacts {
  return {
    record: {
      cluster: "c",
      group: "bank",
      site: "west",
      replicaId: "r",
      role: "secondary",
      history: withTenure([], "east", "a"),
      incarnation: 1,
      lsnReserved: 1,
      bootId: "",
      cleanStop: true,
      image: "synchronized",
      syncedAt: { lsn: 7, generation: 1 },
      toldOfFracture: undefined,
      failedVolumes: [],
      openMapIds: [],
      volumes: [],
      regionBytes: 65_536,
      members: {},
      preservedPoint: undefined,
      ...record,
    },
    primary: "east",
    primaryState: "silent",
    primaryFailed: "",
    successor: undefined,
    silentSites: ["east"],
    primaryLsn: 9,
    primarySet: 0,
    lackedBytes: undefined,
    lackedWrites: undefined,
    heardMsAgo: 1500,
    appliedLsn: 9,
    sets: undefined,
    wallMs: 0,
    undoneBytes: 0,
    failedBytes: 0,
    mayAckAlone: true,
    bunkers: [],
    ...rest,
  };
}

test("row 58: a primary that answers is never succeeded, not even by force", () => {
  const plan = planPromotion(facts({}, { primaryState: "serves" }));
  assert.equal(plan.verdict, "refuse");
  assert.match(plan.hint, /^demote it first \(antipode demote/);
  // One that has failed takes no command: it can only be stopped.
  const failed = planPromotion(facts({}, { primaryState: "serves", primaryFailed: "EIO" }));
  assert.equal(failed.verdict, "refuse");
  assert.match(failed.refusal, /answers, and has failed: EIO$/);
  assert.match(failed.hint, /^stop site east: /);
});

test("B9: who gave its role up to a replay takes it back by force, and is not said to lack what it acked itself", () => {
  const toldOfFracture = { lsn: 9, why: "vault is activated for a replay to west" };
  const was = { site: "east", role: "demoted", image: "consistent", toldOfFracture } as const;
  const plan = planPromotion(facts(was, { primary: "east", silentSites: [], appliedLsn: 0 }));
  assert.ok(plan.verdict === "force");
  assert.match(plan.lines.join("\n"), /has all that it acked until then/);
  assert.doesNotMatch(plan.lines.join("\n"), /lacks/);
  assert.match(plan.refusal, /^east gave its role up, for another site to take it \(vault is/);
  assert.match(plan.hint, /^antipode status bank at the other sites/);
});

test("F11: a copy that was synchronized needs no force, and says what it cannot know", () => {
  const plan = planPromotion(facts({}));
  assert.equal(plan.verdict, "go");
  assert.match(plan.lines.join("\n"), /held everything until 1\.5 s ago/);
  assert.match(plan.lines.join("\n"), /acked alone after that/);
});

test("decision 7a: under a policy that never acks alone, nothing can be lost", () => {
  const plan = planPromotion(facts({}, { mayAckAlone: false }));
  assert.equal(plan.verdict, "go");
  assert.match(plan.lines.join("\n"), /nothing is lost/);
});

test("row 10: a copy that was told of its fracture needs force, which names the loss", () => {
  const told = { image: "consistent", toldOfFracture: { lsn: 9, why: "paused" } } as const;
  const plan = planPromotion(facts(told, { primaryLsn: 12, appliedLsn: 9 }));
  assert.equal(plan.verdict, "force");
  assert.match(plan.lines.join("\n"), /3 writes known, LSN 10 to 12/);
  // Not fed since its process started, it cannot tell from where on.
  const restarted = planPromotion(facts(told, { primaryLsn: 12, appliedLsn: undefined }));
  assert.equal(restarted.verdict, "force");
  assert.match(restarted.lines.join("\n"), /lacks some writes up to LSN 12 and whatever east/);
});

test("I30, row 11: an image in the middle of a resync needs force; one that never was whole is refused", () => {
  assert.equal(planPromotion(facts({ image: "synchronizing" })).verdict, "force");
  const blank = { image: "out-of-sync", syncedAt: undefined } as const;
  assert.equal(planPromotion(facts(blank)).verdict, "refuse");
});

test("I33: a site that another one succeeded is promoted only by force, which names what is given up", () => {
  const successor = { site: "north", primary: "north", generation: 3 };
  const plan = planPromotion(facts({ image: "consistent" }, { successor }));
  assert.equal(plan.verdict, "force");
  assert.match(plan.lines.join("\n"), /everything that north acked/);
  assert.match(
    plan.refusal,
    /^north has been primary in generation 3, which this site does not have$/,
  );
});

test("I33: what is given up was acked by who began the generation, not by a copy that tells of it", () => {
  const successor = { site: "north", primary: "vault", generation: 3 };
  const plan = planPromotion(facts({ image: "consistent" }, { successor }));
  assert.match(plan.lines.join("\n"), /everything that vault acked as primary of generation 3/);
  assert.match(
    plan.refusal,
    /^vault has been primary in generation 3, .*, and north has followed it$/,
  );
  assert.match(plan.hint, /^promote north instead/);
});

test("decision 7: a copy of sets that is known to lack writes needs --force, which names them", () => {
  const record = { image: "consistent" } as const;
  const sets = { completeLsn: 40, completeSet: 9, knownLsn: 45, endedLsn: undefined };
  const plan = planPromotion(facts(record, { sets, primaryState: "silent" }));
  assert.equal(plan.verdict, "force");
  assert.match(
    plan.lines.join("; "),
    /lacks 5 writes known, LSN 41 to 45, and whatever east acked/,
  );
});

test("decision 7: the known loss is named in LSNs, sets and bytes as the primary told it last, and no further", () => {
  const record = { image: "consistent" } as const;
  const told = { primaryLsn: 45, primarySet: 12, lackedBytes: 5 * 4096 };
  const lost = (knownLsn: number): string => {
    const sets = { completeLsn: 40, completeSet: 9, knownLsn, endedLsn: undefined };
    return planPromotion(facts(record, { sets, ...told })).lines.at(-1) ?? "";
  };
  const since = "and whatever east acked since we last heard of it (1.5 s ago)";
  const known = (last: number): string =>
    `lacks ${last - 40} writes known, LSN 41 to ${last}, sets 10 to 12, at most 20480 bytes`;
  assert.equal(lost(45), `${known(45)}, ${since}`);
  // Something has come since, and is of no use without what is before it.
  assert.equal(lost(47), `${known(47)} up to LSN 45, ${since}`);
  // The primary was started meanwhile, and left out LSNs: it knows how many writes there were.
  const started = { completeLsn: 40, completeSet: 9, knownLsn: 1_000_045, endedLsn: undefined };
  const told3 = { ...told, primaryLsn: 1_000_045, lackedWrites: 7 };
  assert.match(
    planPromotion(facts(record, { sets: started, ...told3 })).lines.at(-1) ?? "",
    /^lacks 7 writes known, LSN 41 to 1000045, sets 10 to 12, at most 20480 bytes, and/,
  );
  const told2 = { lsn: 5, why: "paused" };
  const mirror = facts({ ...record, toldOfFracture: told2 }, { ...told, appliedLsn: 40 });
  assert.match(
    planPromotion(mirror).lines.join("; "),
    /lacks 5 writes known, LSN 41 to 45, at most 20480 bytes, and whatever east acked/,
  );
});

test("decision 7: a copy of sets that knows of nothing more is promoted, and says what is unknown", () => {
  const record = { image: "consistent" } as const;
  const sets = { completeLsn: 45, completeSet: 9, knownLsn: 45, endedLsn: undefined };
  const plan = planPromotion(facts(record, { sets, primaryState: "silent" }));
  assert.equal(plan.verdict, "go");
  assert.doesNotMatch(plan.lines.join("; "), /nothing is lost/);
  assert.match(plan.lines.join("; "), /how much that is is unknown/);
});

test("a switchover to a copy of sets loses nothing; what an orderly demotion left behind is known exactly", () => {
  const record = { image: "consistent" } as const;
  const all = { completeLsn: 45, completeSet: 9, knownLsn: 40, endedLsn: 45 };
  const handedOver = planPromotion(facts(record, { sets: all, primaryState: "demoted" }));
  assert.equal(handedOver.verdict, "go");
  assert.match(handedOver.lines.join("; "), /nothing is lost/);
  const some = { ...all, completeLsn: 43 };
  const behind = planPromotion(facts(record, { sets: some, primaryState: "demoted" }));
  assert.equal(behind.verdict, "force");
  assert.equal(behind.lines.at(-1), "lacks 2 writes known, LSN 44 to 45");
});

const point = { lsn: 5, set: 3, generation: 1, stampMs: 10_000, keptSinceMs: 11_000 };

test("I30, row 11: an image under resync goes back to its point by force alone, and the plan names point and loss", () => {
  const preservedPoint = { ...point, id: 1, phase: "kept" as const };
  const plan = planPromotion(
    facts(
      { image: "synchronizing", preservedPoint },
      { wallMs: 12_500, undoneBytes: 3 * 1024 * 1024 },
    ),
  );
  assert.equal(plan.verdict, "force");
  const lines = plan.lines.join("\n");
  assert.match(
    lines,
    /back to the preserved point: set 3 \(LSN 5 of generation 1\), of 2\.5 s ago/,
  );
  assert.match(lines, /undoes what a resync has written here since: 3\.0 MiB/);
  assert.match(lines, /lacks 4 writes known, LSN 6 to 9/);
  assert.match(plan.refusal, /the image here is synchronizing; set 3 \(LSN 5 .* can be promoted/);
  const successor = { site: "north", primary: "north", generation: 2 };
  const succeeded = planPromotion(facts({ image: "synchronizing", preservedPoint }, { successor }));
  assert.match(succeeded.lines.join("\n"), /back to the preserved point.*\n.*\n.*north acked/);
});

test("I30: an image that went back is not promoted as if it held everything", () => {
  const plan = planPromotion(facts({ image: "consistent", reverted: { ...point, set: 0 } }));
  assert.equal(plan.verdict, "force");
  assert.match(
    plan.lines.join("\n"),
    /preserved point that it went back to: LSN 5 of generation 1/,
  );
  assert.match(plan.refusal, /taken back to a preserved point; LSN 5/);
});

test("decision 7c: a copy that has a bunker's whole log needs no force; a log within reach is replayed first", () => {
  const sets = { completeLsn: 45, completeSet: 9, knownLsn: 40, endedLsn: undefined };
  const bunkers = [{ site: "vault", endLsn: 0 }];
  const whole = { from: "vault", set: 9, lsn: 45, endLsn: 45, isWhole: true };
  const planned = (replayed: GroupRecord["replayed"]) =>
    planPromotion(facts({ image: "consistent", ...(replayed && { replayed }) }, { sets, bunkers }));
  assert.equal(planned(whole).verdict, "go");
  assert.match(planned(undefined).hint, /antipode replay bank --from vault --site west/);
  assert.equal(planned(undefined).verdict, "force");
  const cut = planned({ ...whole, endLsn: 60 });
  assert.deepEqual(
    [cut.verdict, cut.lines.at(-1)],
    ["force", "lacks LSN 46 to 60 of the log of vault"],
  );
  // One that was cut short by a death is on record as it began.
  assert.equal(planned({ ...whole, set: 3, lsn: 20 }).verdict, "go");
  // Called off, the log may have got more.
  assert.equal(planned({ ...whole, isCancelled: true }).verdict, "force");
});

test("F15, decision 7: an image that a failed sync has put in doubt needs force, which names the volume and how much", () => {
  const failed = { failedVolumes: ["data"] };
  const failedBytes = 3 * 1024 * 1024;
  const mirror = planPromotion(facts(failed, { failedBytes }));
  assert.equal(mirror.verdict, "force");
  assert.match(mirror.refusal, /a sync of data has failed at west: up to 3\.0 MiB/);
  assert.match(mirror.lines.join("\n"), /may lack up to 3\.0 MiB .* data/);
  assert.doesNotMatch(mirror.lines.join("\n"), /nothing (acked until then )?is lost/);
  const sets = { completeLsn: 45, completeSet: 9, knownLsn: 45, endedLsn: undefined };
  const copy = planPromotion(facts({ ...failed, image: "consistent" }, { failedBytes, sets }));
  assert.equal(copy.verdict, "force");
  // What was written since a point is written back and synced: the point is in no doubt.
  const preservedPoint = { ...point, id: 1, phase: "kept" as const };
  const atPoint = { ...failed, image: "synchronizing", preservedPoint } as const;
  assert.doesNotMatch(planPromotion(facts(atPoint)).lines.join("\n"), /a sync of/);
  // Nobody is asked to bring back who is known to have served since.
  const serves = planPromotion(facts(failed, { primaryState: "serves" }));
  assert.equal(serves.verdict, "refuse");
});

test("decision 7c: with two bunkers, one whose log ends behind what was replayed is in nobody's way; the longest comes first", () => {
  const sets = { completeLsn: 45, completeSet: 9, knownLsn: 40, endedLsn: undefined };
  const whole = { from: "vault", set: 9, lsn: 45, endLsn: 45, isWhole: true };
  const with2 = (replayed: GroupRecord["replayed"], endLsn: number) => {
    const bunkers = [
      { site: "vault", endLsn: 45 },
      { site: "cellar", endLsn },
    ];
    const record = { image: "consistent", ...(replayed && { replayed }) } as const;
    return planPromotion(facts(record, { sets, bunkers }));
  };
  for (const endLsn of [12, 45]) assert.equal(with2(whole, endLsn).verdict, "go");
  const more = with2(whole, 46);
  assert.equal(more.verdict, "force");
  assert.match(more.hint, /replay bank --from cellar .*\(cellar: up to LSN 46\)/);
  assert.equal(with2(whole, 0).verdict, "force", "who does not say where its log ends is asked");
  assert.equal(with2({ ...whole, isWhole: false }, 45).verdict, "force");
  assert.match(with2(undefined, 46).hint, /--from cellar/);
  assert.match(with2(undefined, 12).hint, /--from vault/);
});

test("I29, decision 9: what a promoted copy of sets held of the generation before is what its whole image has applied, or unknown", () => {
  const applied = { set: 4, lsn: 30, stampMs: 0 };
  const of = (changes: Partial<GroupRecord>): number | undefined =>
    heldThrough(facts({ image: "consistent", applied, ...changes }).record);
  assert.equal(of({}), 30);
  assert.equal(of({ image: "synchronized" }), 30);
  const point = { lsn: 9, set: 2, generation: 1, stampMs: 0, keptSinceMs: 1 };
  const doubts: Partial<GroupRecord>[] = [
    { image: "synchronizing" },
    { image: "out-of-sync" },
    { failedVolumes: ["data"] },
    { reverted: point },
    { preservedPoint: { ...point, id: 3, phase: "kept" } },
  ];
  for (const changes of doubts) {
    assert.equal(of(changes), undefined, JSON.stringify(changes));
    assert.equal(isWholeImage(facts({ image: "consistent", ...changes }).record), false);
  }
  const mirror = facts({ image: "consistent" }).record;
  assert.equal(heldThrough(mirror), undefined, "a mirror");
  assert.equal(isWholeImage(mirror), true);
});
