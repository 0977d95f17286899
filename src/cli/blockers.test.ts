import assert from "node:assert/strict";
import { test } from "node:test";
import { whyHeldUp } from "#core/held-up.ts";
import type { CopyStatus, GroupStatus, HeldUp } from "#site/api.ts";
import { copyStatus, groupWith } from "../../test/support/fake-site.ts";
import { findBlockers } from "./blockers.ts";
import { describeLoss } from "./loss.ts";
import { describeGroup } from "./status.ts";
import { missedObjectives } from "#control/objectives.ts";
import type { Objectives } from "#control/objectives.ts";

/** What a primary says whose hosts cannot write. */
function heldUp(writesHeldUp: HeldUp): Pick<GroupStatus, "why" | "writesHeldUp"> {
  return { why: whyHeldUp(writesHeldUp), writesHeldUp };
}

function complaintsOf(seen: GroupStatus, rpos: Objectives = new Map()): readonly string[] {
  const status = { site: "east", version: "0", groups: [seen] };
  return missedObjectives(status, rpos).map(({ why }) => why);
}

test("who waits for the word of a successor names it, and what helps if it never comes", () => {
  const why = "the role was offered to west, which has not said whether it took it; hosts wait";
  const [blocker] = findBlockers(groupWith([], { serving: false, why }), "east");
  assert.match(blocker?.waitsFor ?? "", /^the word of west/);
  assert.match(blocker?.help ?? "", /antipode promote bank --site east --force$/);
});

test("row 40, B12: a primary that has failed waits for a hand and a restart, and nothing is said of copies that it does not feed", () => {
  const copy = copyStatus("west", "buffering", { why: "reconnecting" });
  for (const [why, help] of [
    ["no space left on device (ENOSPC)", /^free some space .*df at east/],
    ["input/output error (EIO)", /^mend what is named here/],
  ] as const) {
    const seen = groupWith([copy], { serving: false, hasFailed: true, why });
    const [blocker, ...more] = findBlockers(seen, "east");
    assert.deepEqual(more, []);
    assert.ok(blocker?.waitsFor.includes(why));
    assert.match(blocker?.help ?? "", help);
    assert.match(blocker?.help ?? "", /then stop site east and start it again/);
  }
});

test("row 25: who was demoted in a split brain is not told to take the role from the side that serves", () => {
  const split = { site: "west", wroteHere: { regions: 1, bytes: 65536 } };
  const own = copyStatus("east", "split-brain", { link: "wan-down", why: "" });
  const seen = groupWith([own], {
    role: "demoted",
    primary: "west",
    serving: false,
    splits: [split],
  });
  const helps = findBlockers(seen, "east").map(({ help }) => help);
  assert.equal(helps.length, 1, helps.join("\n"));
  assert.match(helps[0] ?? "", /^antipode discard bank /);
  assert.deepEqual(complaintsOf(seen), ["copy east: split brain"]);
});

test("who gave its role up and knows of no successor is not told to wait for itself", () => {
  const own = copyStatus("east", "fractured", { link: "wan-down" });
  const seen = groupWith([own], { role: "demoted", primary: "east", serving: false });
  const helps = findBlockers(seen, "east").map(({ help }) => help);
  assert.equal(helps.length, 1, helps.join("\n"));
  assert.match(helps[0] ?? "", /^antipode promote bank --site east/);
  assert.match(describeLoss(seen, "east"), /^No site that east has heard of is the primary/);
});

test("row 40: hosts that cannot write are complained of, however little a copy lags", () => {
  const copy = copyStatus("west", "buffering", { lagSeconds: 1 });
  const rpos = new Map([["bank", new Map([["west", 60_000]])]]);
  assert.deepEqual(complaintsOf(groupWith([copy]), rpos), []);
  for (const held of [
    { by: "journal", keptFor: "copy", copy: "west", verdict: "wait" },
    { by: "journal", keptFor: "images", verdict: "fail" },
    { by: "copy", copy: "west", onLoss: "fail", verdict: "fail" },
    { by: "disk", said: "no space left on device (ENOSPC)", verdict: "wait" },
  ] as const)
    assert.deepEqual(complaintsOf(groupWith([copy], heldUp(held)), rpos), [
      `hosts cannot write (${whyHeldUp(held)})`,
    ]);
});

test("row 40, I4: who waits for room or for a strict copy is told for which, and what helps, whatever the words of `why`", () => {
  const west = copyStatus("west", "synchronized");
  const full = { by: "journal", verdict: "wait" } as const;
  const hosts = "hosts of bank cannot write at east";
  for (const [held, what, waitsFor, help] of [
    [
      { ...full, keptFor: "copy", copy: "west" },
      hosts,
      /^room in the journal/,
      /^antipode wait bank --site east/,
    ],
    [
      { ...full, keptFor: "device", volume: "data" },
      hosts,
      /^room in the journal/,
      /^antipode wait bank --site east/,
    ],
    [
      { ...full, keptFor: "failed-volume", volume: "data" },
      hosts,
      /^room in the journal/,
      /^antipode repair bank --volume data --site east; .* antipode promote bank --site west$/,
    ],
    [
      { by: "copy", copy: "west", onLoss: "stall", verdict: "wait" },
      `${hosts}: writes wait`,
      /^copy west to be back, as onLoss: stall of it asks$/,
      /antipode pause bank --copy west$/,
    ],
    [
      { by: "copy", copy: "west", onLoss: "fail", verdict: "fail" },
      `${hosts}: writes are refused`,
      /^copy west to be back, as onLoss: fail of it asks$/,
      /antipode pause bank --copy west$/,
    ],
  ] as const) {
    for (const why of [whyHeldUp(held), "in words of another day"]) {
      const [blocker, ...more] = findBlockers(
        groupWith([west], { why, writesHeldUp: held }),
        "east",
      );
      assert.deepEqual(more, []);
      assert.equal(blocker?.what, what);
      assert.match(blocker?.waitsFor ?? "", waitsFor);
      assert.match(blocker?.help ?? "", help);
    }
  }
  // A site of an older version sends no data: nothing is read out of its words, which are shown as they are.
  const why = "writes wait until copy west is back (onLoss: stall)";
  const older = groupWith([west], { why });
  assert.deepEqual(findBlockers(older, "east"), []);
  assert.deepEqual(complaintsOf(older), []);
  assert.ok(describeGroup(older, "east").includes(`  why: ${why}`));
});

test("row 40: a full disk under the journal is named with what helps, whether hosts feel it yet or not", () => {
  const diskFull = "taking room for /d/bank/journal-1.log: no space left on device (ENOSPC)";
  const { journal } = groupWith([]);
  const full = { journal: { ...journal, diskFull } };
  const felt = { ...full, ...heldUp({ by: "disk", said: diskFull, verdict: "wait" }) };
  for (const [seen, what, complaint] of [
    [groupWith([], full), /hosts still write/, /^the disk under/],
    [groupWith([], felt), /cannot write/, /^hosts cannot write/],
  ] as const) {
    const [blocker, ...more] = findBlockers(seen, "east");
    assert.equal(more.length, 0);
    assert.match(blocker?.what ?? "", what);
    assert.match(blocker?.waitsFor ?? "", /journal-1\.log.*ENOSPC/);
    assert.match(
      blocker?.help ?? "",
      /^free some space or quota there \(df at east\); it goes on by/,
    );
    assert.match(complaintsOf(seen, new Map())[0] ?? "", complaint);
    assert.ok(describeGroup(seen, "east").some((line) => line.includes(diskFull)));
  }
});

test("each state but the best has a blocker that names the command that helps", () => {
  const helps = new Map<CopyStatus["state"], RegExp>([
    ["init-sync", /^antipode wait bank --copy west$/],
    ["resync", /^antipode wait bank --copy west$/],
    ["paused", /^antipode resume bank --copy west$/],
    ["fractured", /^antipode resume bank --copy west$/],
    ["split-brain", /antipode discard bank/],
  ]);
  for (const [state, help] of helps) {
    const [blocker, ...more] = findBlockers(groupWith([copyStatus("west", state)]), "east");
    assert.equal(more.length, 0);
    assert.match(blocker?.help ?? "", help);
    assert.ok(blocker?.what.includes("copy west of bank"));
  }
  assert.deepEqual(findBlockers(groupWith([copyStatus("west", "synchronized")]), "east"), []);
});

test("trouble of a copy's own disk has advice that helps, at the primary and at the copy", () => {
  const troubles = [
    [
      "staging here cannot be written: ENOSPC: no space left; it is tried again by itself, and goes on once there is room",
      /^free some space .*df at west.* by itself/,
    ],
    [
      "the staging log here cannot be opened: ENOSPC; it is tried again by itself, and goes on once there is room",
      /^free some space/,
    ],
    [
      "fdatasync of staging here failed: EIO; it begins anew by itself, with another log",
      /^look after that disk of west; .* nothing needs to be restarted$/,
    ],
    [
      "the staging log cannot be used: record 1 at byte 64: the checksum of its head does not match",
      /^stop site west, move staging-\*\.log out of the folder bank/,
    ],
    [
      "fdatasync of the image here failed: EIO; this site must be started again",
      /^mend the disk of west, then stop its site/,
    ],
    [
      "a sync of data has failed here: what hosts wrote last may not be on the disk; this site must be started again",
      /^mend the disk of west, then stop its site/,
    ],
  ] as const;
  for (const [why, help] of troubles) {
    const seen = copyStatus("west", "fractured", { why: `${why}; reconnecting` });
    assert.match(findBlockers(groupWith([seen]), "east")[0]?.help ?? "", help, why);
    const own = copyStatus("west", "fractured", { why, link: "wan-down" });
    const blockers = findBlockers(groupWith([own], { role: "secondary" }), "west");
    assert.match(blockers[0]?.help ?? "", help, why);
    assert.ok(blockers[0]?.waitsFor.includes(why));
  }
});

test("A18: what is fed through a relay that is away waits for the relay, and is not to be resumed", () => {
  const why = "it is fed through vault, which is stopped";
  const [blocker] = findBlockers(groupWith([copyStatus("west", "buffering", { why })]), "east");
  assert.match(
    blocker?.waitsFor ?? "",
    /^its relay to take the journal again \(it is fed through vault/,
  );
  assert.doesNotMatch(blocker?.help ?? "", /resume/);
});

test("B12: whose session is tried again by itself waits for that, and for nobody's hand", () => {
  for (const why of ["the copy is stopping; reconnecting", "the session is being opened"]) {
    const [blocker] = findBlockers(groupWith([copyStatus("west", "fractured", { why })]), "east");
    assert.equal(blocker?.waitsFor, `a session, which is tried by itself (${why})`);
    assert.match(blocker?.help ?? "", /^antipode wait bank --copy west/);
  }
});

test("B12, I33: who waits to be filled by a site that does not answer, or is of another cluster, is told so, and not to wait", () => {
  const cut = { link: "peer-down", why: "cannot reach it" } as const;
  const [blocker] = findBlockers(groupWith([copyStatus("west", "init-sync", cut)]), "east");
  assert.match(blocker?.waitsFor ?? "", /^site west to answer \(cannot reach it\)/);
  assert.match(blocker?.help ?? "", /^antipode serve --site west/);
  const replay = copyStatus("west", "replaying", { link: "wan-down", why: "a replay from vault" });
  const replaying = findBlockers(groupWith([replay], { role: "secondary" }), "west");
  assert.match(replaying[0]?.help ?? "", /^antipode wait bank/);
  for (const [why, help] of [
    ['it belongs to cluster "b", we to "a"', /^compare cluster: and the peer addresses/],
    ["it does not know the cluster's secret; compare the secret files", /^copy the right secret/],
  ] as const)
    for (const state of ["init-sync", "buffering"] as const) {
      const seen = copyStatus("west", state, { link: "wan-down", why });
      assert.match(findBlockers(groupWith([seen]), "east")[0]?.help ?? "", help);
    }
});

test("B12: at a copy whose primary answers and does not feed it, nobody is told to start that one", () => {
  const unfed = { link: "up", isFed: false, why: "no session with east, which answers" } as const;
  for (const state of ["fractured", "init-sync"] as const) {
    const seen = groupWith([copyStatus("west", state, unfed)], {
      role: "secondary",
      serving: false,
    });
    const [blocker, ...more] = findBlockers(seen, "west");
    assert.equal(more.length, 0);
    assert.match(blocker?.waitsFor ?? "", /^site east to feed it \(no session with east/);
    assert.match(blocker?.help ?? "", /^antipode why bank --site east/);
    if (state === "fractured") assert.match(describeLoss(seen, "west"), /is not known here/);
  }
});

test("B12: at a copy of a primary that has failed and answers, that is named once, with what helps there", () => {
  const failed = "the group's own records cannot be written: EIO";
  const unfed = { link: "up", isFed: false, why: `east, the primary, has failed: ${failed}` };
  const copy = copyStatus("west", "fractured", { ...unfed, link: "up" });
  const primaryFailure = { site: "east", failed, volumes: [] };
  const seen = groupWith([copy], { role: "secondary", serving: false, primaryFailure });
  const [blocker, ...more] = findBlockers(seen, "west");
  assert.deepEqual(more, []);
  assert.ok(blocker?.waitsFor.includes(failed));
  assert.match(
    blocker?.help ?? "",
    /then stop site east and start it again; .* promote bank --site west --dry-run/,
  );
  const text = describeGroup(seen, "west").join("\n");
  assert.match(text, /primary east: it has failed, and serves and feeds nobody \(the group's own/);
});

test("I33: what a copy may lack is what is dirty, or what the journal keeps for it", () => {
  for (const [state, words] of [
    ["buffering", /it may lack 2MiB/],
    ["replaying", /2MiB to go/],
  ] as const) {
    const behind = copyStatus("west", state, { dirtyBytes: 0, lagBytes: 2 * 1024 * 1024 });
    assert.match(findBlockers(groupWith([behind]), "east")[0]?.what ?? "", words);
  }
});

test("a lost link, a failed volume, a demoted group and silent hosts are blockers of their own", () => {
  const gone = copyStatus("west", "fractured", { link: "peer-down", why: "" });
  assert.match(findBlockers(groupWith([gone]), "east")[0]?.help ?? "", /serve --site west/);
  const alone = findBlockers(groupWith([{ ...gone, site: "west" }], { role: "secondary" }), "west");
  assert.match(alone[0]?.help ?? "", /serve --site east/);
  const failed = groupWith([], { volumes: [{ name: "data", bytes: 1, state: "failed", uri: "" }] });
  assert.match(
    findBlockers(failed, "east")[0]?.help ?? "",
    /repair bank --volume data --site east/,
  );
  assert.match(
    findBlockers(groupWith([], { role: "demoted" }), "east")[0]?.help ?? "",
    /promote bank/,
  );
  const waiting = findBlockers(
    groupWith([], { serving: false, why: "west must answer first" }),
    "east",
  );
  assert.match(waiting[0]?.waitsFor ?? "", /\(west must answer first\)/);
});

test("a split brain is told with what each side wrote, at most, and since when; so is the branch that is kept of one", () => {
  const split = {
    site: "west",
    wroteHere: { regions: 3, bytes: 3 * 65_536, sinceMs: 1_000 },
    wroteThere: { regions: 40, bytes: 40 * 2 ** 20, sinceMs: 2_000 },
  };
  const seen = groupWith([copyStatus("west", "split-brain")], { splits: [split] });
  assert.match(
    describeGroup(seen, "east").join("\n"),
    /split brain with west: up to 3 regions, 0\.2 MiB, that east wrote by itself since 1970-01-01T00:00:01\.000Z; up to 40 regions.* that west wrote by itself since 1970-01-01T00:00:02/,
  );
  const [blocker] = findBlockers(seen, "east");
  assert.match(blocker?.what ?? "", /both sites took writes.*that east wrote.*that west wrote/);
  assert.match(blocker?.help ?? "", /discard bank --site west --dry-run, or --site east/);
  const alone = findBlockers(groupWith([copyStatus("west", "split-brain")]), "east")[0];
  assert.match(alone?.help ?? "", /discard bank --site west --dry-run, or --site east/);

  const vault = copyStatus("vault", "split-brain", { mode: "bunker", image: "none" });
  const kept = findBlockers(groupWith([vault]), "east")[0];
  assert.match(kept?.what ?? "", /bunker vault of bank: it keeps the log of a primary that east/);
  assert.match(kept?.help ?? "", /^antipode discard bank --site vault --dry-run/);
  const onPath = findBlockers(groupWith([{ ...vault, site: "mirror:bank" }]), "east")[0];
  assert.match(onPath?.help ?? "", /antipode resume bank --copy mirror:bank$/);

  const figures = { set: 0, lsn: 77, generation: 2, stampMs: 0, keptSinceMs: 3_000 };
  const room = { bytesUsed: 2 ** 20, bytesMax: 2 ** 26 };
  const branch = { ...figures, ...room, phase: "kept" as const, wrote: split.wroteThere };
  const west = copyStatus("west", "synchronized", { branch });
  assert.match(
    describeGroup(groupWith([west], { role: "secondary" }), "west").join("\n"),
    /west keeps a branch: LSN 77 of generation 2, with up to 40 regions.*, given up 1970-01-01T00:00:03\.000Z; its log takes 1MiB of 64MiB; antipode discard bank --site west --undo/,
  );
});

test("B8: with a bunker, what helps without the primary is the replay first, then the takeover", () => {
  const lost = copyStatus("west", "fractured", { link: "wan-down" });
  const at = (more: Partial<GroupStatus>, site = "west"): string =>
    findBlockers(groupWith([lost], { role: "secondary", serving: false, ...more }), site)[0]
      ?.help ?? "";
  const vault = { site: "vault", answers: true, isReplayed: false };
  const replay = "antipode replay bank --from vault --site west, then antipode promote bank";
  assert.match(at({ bunkers: [vault] }), new RegExp(`serve --site east.*lost for good: ${replay}`));
  assert.match(at({ bunkers: [{ ...vault, answers: false }] }), /bring vault back first/);
  const replayed = at({ bunkers: [{ ...vault, isReplayed: true }] });
  assert.match(replayed, /lost for good: antipode promote bank --site west \(the log of vault/);
  assert.match(at({}), /promote bank --site west --dry-run/);
  const own = copyStatus("vault", "buffering", { mode: "bunker", image: "none", link: "wan-down" });
  const bunker = groupWith([own], { role: "bunker", serving: false });
  assert.match(
    findBlockers(bunker, "vault")[0]?.help ?? "",
    /replay bank --from vault --site COPY/,
  );
});

test("at who is not the primary, status and why say that its node does not answer, or that a volume of it has failed", () => {
  const primaryFailure = { site: "east", node: "connection refused", volumes: ["data"] };
  const well = groupWith([copyStatus("west", "streaming")], { role: "secondary", primaryFailure });
  const text = describeGroup(well, "west").join("\n");
  assert.match(
    text,
    /primary east: it does not answer \(connection refused\); volume data has failed/,
  );
  const [node, volume] = findBlockers(well, "west");
  assert.match(node?.waitsFor ?? "", /site east to run and be reached \(connection refused\)/);
  assert.match(node?.help ?? "", /serve --site east .*promote bank --site west --dry-run/);
  assert.equal(volume?.help, "antipode repair bank --volume data --site east");
  const bunker = copyStatus("vault", "streaming", { mode: "bunker" });
  const [atBunker] = findBlockers(groupWith([bunker], { primaryFailure }), "vault");
  assert.match(atBunker?.help ?? "", /antipode replay bank --from vault --site COPY/);
  // The copy's own line says it, too, once its session is lost.
  const lost = groupWith([copyStatus("west", "fractured")], {
    primaryFailure: { site: "east", node: "x", volumes: [] },
  });
  assert.equal(findBlockers(lost, "west").length, 1);
});
