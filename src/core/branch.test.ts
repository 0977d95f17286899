import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import {
  aloneBefore,
  isFavoured,
  isSplit,
  knowsItsWrites,
  overtakersIn,
  sitesSince,
} from "./branch.ts";
import { planDiscard, planDrop, planUndo } from "./discard.ts";
import type { DiscardFacts } from "./discard.ts";
import { blankMember } from "./group-record.ts";
import type { GroupRecord } from "./group-record.ts";
import { forkOf, withTenure } from "./history.ts";
import { planPromotion } from "./promotion.ts";

const common = withTenure([], "east", "a1");
const atWest = withTenure(common, "west", "b2", { atMs: 7_000 });
const atEast = withTenure(common, "east", "c2", { atMs: 9_000 });

/** East, which was primary and acked without west. */
function loser(changes: Partial<GroupRecord> = {}): GroupRecord {
  const west = { ...blankMember(), phase: "dirty" as const, alone: true, aloneSinceMs: 5_000 };
  return sampleRecord({ role: "demoted", image: "consistent", members: { west }, ...changes });
}

function facts(changes: Partial<DiscardFacts> = {}): DiscardFacts {
  const wrote = { regions: 3, bytes: 3 * 65_536, sinceMs: 5_000 };
  return {
    record: loser(),
    wrote,
    opponents: [
      { site: "west", isPrimary: true, answers: true, wrote: { regions: 40, bytes: 40 * MiB } },
    ],
    isPrimary: false,
    knowsItsWrites: true,
    bytesMax: 64 * MiB,
    ...changes,
  };
}

test("I29: who acked alone before the other was promoted, or has a tenure that the other lacks, is in split brain (U57)", () => {
  assert.equal(isSplit(loser(), atWest), true);
  assert.equal(isSplit(loser({ history: atEast }), atWest), true);
  assert.equal(isSplit(loser({ history: atEast, members: {} }), atWest), true);
  const heir = { ...blankMember(), phase: "dirty", mayLackEarlier: true } as const;
  assert.equal(isSplit(loser({ members: { west: heir } }), atWest), true, "acks of before");
  const orderly = loser({ members: { west: blankMember() } });
  assert.equal(isSplit(orderly, atWest), false, "an ordinary return");
  assert.equal(isSplit(loser(), common), false, "the same tenure");
  assert.equal(isSplit(loser({ history: atEast }), common), false, "the other one is behind");
  assert.equal(forkOf(atEast, atWest), 1);
  assert.equal(isFavoured(["b2"], withTenure(atWest, "north", "d3")), true);
  assert.equal(isFavoured(["b2"], atEast), false);
});

test("I29, decision 9: who acked alone has a surplus only where the successor did not hold all that it acked", () => {
  const holding = (heldLsn?: number) =>
    withTenure(common, "west", "b2", heldLsn === undefined ? {} : { heldLsn });
  const ended = (lsn: number, id = "a1") => loser({ tenureEnd: { id, lsn } });
  const lateWhole = withTenure(holding(), "north", "d3", { heldLsn: 99, isWhole: true });
  const pastPoint = withTenure(withTenure(holding(20), "north", "d3"), "west", "e4", {
    isWhole: true,
  });
  for (const [own, other, isSurplus, what] of [
    [ended(20), holding(20), false, "everything is there"],
    [ended(20), holding(21), false, "and more, which nobody was told of"],
    [ended(21), holding(20), true, "the last ack is not"],
    [ended(20), holding(), true, "the successor does not say"],
    [loser(), holding(20), true, "this site cannot tell what it acked"],
    [ended(20, "other"), holding(20), true, "it says that of another tenure"],
    [ended(20), withTenure(holding(20), "north", "d3", { isWhole: true }), false, "handed on"],
    [ended(20), withTenure(holding(20), "north", "d3", { heldLsn: 99 }), true, "nobody says so"],
    [ended(20), pastPoint, true, "whoever followed may have begun with an older image"],
    [ended(20), lateWhole, true, "the first counts"],
  ] as const) {
    assert.equal(isSplit(own, other), isSurplus, what);
    assert.deepEqual(aloneBefore(own, other), isSurplus ? ["west"] : [], what);
  }
  const own = ended(20);
  assert.equal(own.members["west"]?.alone, true, "nothing is forgotten");
  assert.deepEqual(aloneBefore(own, common), ["west"], "nobody has followed");
  const heir = { ...blankMember(), phase: "dirty", alone: true, mayLackEarlier: true } as const;
  const earlier = loser({ members: { west: heir }, tenureEnd: { id: "a1", lsn: 20 } });
  assert.equal(isSplit(earlier, holding(20)), true, "of acks of before nobody has said so");
  assert.deepEqual(aloneBefore(earlier, holding(20)), ["west"]);
  const two = { west: { ...blankMember(), alone: true }, north: { ...blankMember(), alone: true } };
  const others = loser({ members: two, tenureEnd: { id: "a1", lsn: 20 } });
  assert.deepEqual(aloneBefore(others, holding(20)), ["north"], "the other one has not followed");
  assert.deepEqual(aloneBefore(others, pastPoint), ["west", "north"]);
});

test("I29, decision 9: who acked without a site is in split brain once that began with an older image, whoever followed first", () => {
  const lost = { ...blankMember(), phase: "dirty", alone: true } as const;
  const own = loser({ members: { west: blankMember(), north: lost } });
  assert.equal(isSplit(own, atWest), false, "west had everything");
  const whole = withTenure(atWest, "north", "d3", { isWhole: true });
  assert.equal(isSplit(own, whole), false, "and gave it to north");
  const older = withTenure(atWest, "north", "d3");
  assert.equal(isSplit(own, older), true, "north went back to what it had before");
  assert.deepEqual(
    overtakersIn(own.history, older).map(({ site }) => site),
    ["west", "north"],
  );
  assert.equal(isSplit(own, withTenure(older, "west", "e4", { isWhole: true })), true, "for good");
  assert.equal(
    isSplit(own, withTenure(atWest, "vault", "d3")),
    false,
    "vault lacked nothing of it",
  );
  assert.deepEqual(overtakersIn(atEast, older), [], "another branch");
  assert.deepEqual([...sitesSince(own.history, whole)], ["west", "north"]);
  assert.deepEqual([...sitesSince(whole, whole), ...sitesSince(atEast, whole)], []);
});

test("I16: a site knows its own writes only as the last primary of its branch that nobody fed since", () => {
  assert.equal(knowsItsWrites(loser()), true);
  for (const changes of [
    { members: {} },
    { members: { west: { ...blankMember(), alone: true } } },
    { history: atWest },
    { image: "synchronizing" },
    { reverted: { lsn: 1, set: 0, generation: 1, stampMs: 0, keptSinceMs: 1 } },
  ] as const)
    assert.equal(knowsItsWrites(loser(changes)), false, JSON.stringify(changes));
});

test("I29: a discard says what either side wrote, and is refused where it would lose more than it says", () => {
  const plan = planDiscard(facts());
  assert.equal(plan.verdict, "go");
  assert.match(
    plan.lines.join("\n"),
    /gives up up to 3 regions, 0\.2 MiB, that east wrote by itself since 1970-01-01T00:00:05\.000Z/,
  );
  assert.match(
    plan.lines.join("\n"),
    /keeps up to 40 regions, 40\.0 MiB, that west wrote by itself/,
  );
  const west = facts().opponents[0] ?? assert.fail();
  for (const [changes, verdict, words] of [
    [{ opponents: [] }, "refuse", /no part in a split brain/],
    [{ opponents: [{ ...west, isPrimary: false }] }, "refuse", /west is not primary/],
    [{ opponents: [{ ...west, isPrimary: false, answers: false }] }, "refuse", /does not answer/],
    [{ isPrimary: true }, "force", /east is primary, and serves hosts/],
    [{ bytesMax: 0 }, "force", /preserve\.bytesMax is 0/],
    [{ record: loser({ image: "synchronizing" }) }, "force", /no state of its hosts'/],
    [
      { record: loser({ failedVolumes: ["data"] }) },
      "force",
      /a sync of the image here has failed/,
    ],
    [{ record: loser({ branch }) }, "refuse", /keeps a branch already/],
  ] as const) {
    const other = planDiscard(facts(changes));
    assert.equal(other.verdict, verdict, String(words));
    assert.match(other.refusal, words);
  }
  assert.match(planDiscard(facts({ knowsItsWrites: false })).lines.join(), /compares everything/);
});

const branch = {
  id: 5,
  phase: "kept",
  lsn: 12,
  set: 0,
  generation: 1,
  stampMs: 0,
  keptSinceMs: 8_000,
  history: common,
  incarnation: 1,
  aloneTowards: ["west"],
  wrote: { regions: 3, bytes: 3 * 65_536 },
} as const;

test("a branch is brought back or let go with a plan; without one there is nothing to take back", () => {
  const kept = loser({ branch });
  assert.match(
    planUndo(kept, MiB).lines.join("\n"),
    /back to the branch: LSN 12.*\nundoes .*: 1\.0 MiB/,
  );
  assert.match(planDrop(kept, MiB).lines.join("\n"), /cannot be brought back then\nfrees 1\.0 MiB/);
  for (const plan of [planUndo(loser(), 0), planDrop(loser(), 0)]) {
    assert.equal(plan.verdict, "refuse");
    assert.match(plan.refusal, /keeps no branch/);
  }
  const told = loser({ discarding: { favours: ["b2"], wrote: branch.wrote } });
  assert.match(planUndo(told, 0).lines.join(), /are not given up: the split brain stands/);
});

test("I29, U40: at a bunker a discard gives up the log that it keeps of one side, by force alone", () => {
  const kept = { logId: 7, isWhole: true };
  const record = loser({
    site: "vault",
    role: "bunker",
    members: {},
    history: atEast,
    bunker: kept,
  });
  const atVault = facts({ record, log: { endLsn: 77, activation: "" } });
  const plan = planDiscard(atVault);
  assert.equal(plan.verdict, "force");
  assert.match(plan.refusal, /nothing can be kept aside/);
  const lines = plan.lines.join("\n");
  assert.match(lines, /gives up the log of generation 2 of east that vault keeps, up to LSN 77/);
  assert.match(lines, /keeps up to 40 regions, 40\.0 MiB, that west wrote by itself/);
  assert.doesNotMatch(lines, /that vault wrote/);
  assert.match(plan.hint, /--force gives up the log that vault keeps all the same/);
  const activation = "vault is activated for a replay to north";
  const forNorth = planDiscard({ ...atVault, log: { endLsn: 77, activation } });
  assert.match(forNorth.refusal, /activated for a replay to north/);
  assert.equal(planDiscard({ ...atVault, opponents: [] }).verdict, "refuse");
  const told = { ...record, discarding: { favours: ["b2"], wrote: branch.wrote } };
  assert.match(planDiscard({ ...atVault, record: told }).lines.join(), /given up already/);
  assert.match(planUndo(told, 0).lines.join(), /the log that vault keeps is not given up/);
});

test("I30: a promotion gives a branch up by force only, and not at all while its image is of different ages", () => {
  const asked = (record: GroupRecord) =>
    planPromotion({
      record,
      primary: "west",
      primaryState: "demoted",
      primaryFailed: "",
      successor: undefined,
      silentSites: [],
      primarySet: 0,
      lackedBytes: undefined,
      lackedWrites: undefined,
      primaryLsn: 0,
      heardMsAgo: 1,
      appliedLsn: 0,
      sets: undefined,
      wallMs: 9_000,
      undoneBytes: 0,
      failedBytes: 0,
      mayAckAlone: true,
      bunkers: [],
    });
  const whole = loser({ role: "secondary", image: "synchronized", members: {} });
  assert.equal(asked(whole).verdict, "go");
  const keeping = asked({ ...whole, branch });
  assert.equal(keeping.verdict, "force");
  assert.match(keeping.refusal, /is kept here, and a promotion would give it up/);
  const mixed = asked({ ...whole, branch, image: "synchronizing" });
  assert.equal(mixed.verdict, "refuse");
  assert.match(mixed.hint, /--undo takes it back to the branch/);
  const word = asked({ ...whole, discarding: { favours: ["b2"], wrote: branch.wrote } });
  assert.equal(word.verdict, "force");
});
