import assert from "node:assert/strict";
import { test } from "node:test";
import type { CopyConfig } from "#config/types.ts";
import type { CopyStatus } from "#site/api.ts";
import { copyStatus, groupWith, sampleGroup } from "../../test/support/fake-site.ts";
import { describeEvent } from "./events.ts";
import { describeReport } from "./inspect.ts";
import { describeLoss } from "./loss.ts";
import { withoutSource } from "./replay.ts";
import { describeGroup } from "./status.ts";
import { formatTable } from "./table.ts";
import { holds } from "./wait.ts";

test("what would be lost is named by the copy that would lose least", () => {
  const synchronized = copyStatus("west", "synchronized");
  const fractured = copyStatus("north", "fractured", { lagSeconds: 7, dirtyBytes: 1 << 20 });
  assert.match(
    describeLoss(groupWith([fractured, synchronized]), "east"),
    /^If east died now, nothing .* west has it all/,
  );
  assert.match(
    describeLoss(groupWith([fractured]), "east"),
    /north would lack at most 1MiB \(1 write\) of the last 7 s/,
  );
  const filling = copyStatus("west", "resync", { image: "synchronizing" });
  assert.match(
    describeLoss(groupWith([filling]), "east"),
    /everything could be lost: west has no consistent image/,
  );
  // Row 53: its disk is a blank one, and what it said last was of another.
  const stopped = copyStatus("west", "stopped", { image: "consistent", lagSeconds: 0 });
  assert.match(
    describeLoss(groupWith([stopped]), "east"),
    /everything could be lost: west is stopped\.$/,
  );
  assert.match(
    describeLoss(groupWith([]), "east"),
    /everything would be lost: the group has no copy/,
  );
});

test("at a copy, what would be lost is what promoting it would give", () => {
  const seen = groupWith([copyStatus("west", "synchronized")], {
    role: "secondary",
    serving: false,
  });
  assert.match(describeLoss(seen, "west"), /^If east died now, nothing/);
});

test("B12, I33: a copy without contact sets no bound to what its primary wrote since, and a bunker tells of its log", () => {
  const figures = { lagBytes: 0, lagWrites: 0, dirtyBytes: 0 };
  const cut = { ...figures, image: "consistent", link: "wan-down", lagSeconds: 5.9 } as const;
  const atCopy = (more: Partial<CopyStatus>): string =>
    describeLoss(
      groupWith([copyStatus("west", "buffering", { ...cut, ...more })], { role: "secondary" }),
      "west",
    );
  assert.match(atCopy({}), /since it was last heard, 5\.9 s ago: how much that is, is not known/);
  assert.match(atCopy({ lagSeconds: 0 }), /since it was last fed: how much/);
  const atBunker = (state: CopyStatus["state"], more: Partial<CopyStatus>): string => {
    const own = copyStatus("vault", state, { ...figures, mode: "bunker", image: "none", ...more });
    return describeLoss(groupWith([own], { role: "bunker", lsn: 7 }), "vault");
  };
  assert.match(
    atBunker("streaming", { lagSeconds: 0 }),
    /up to LSN 7 \(antipode replay bank --from vault --site COPY\): all that was acked/,
  );
  assert.match(atBunker("buffering", cut), /up to LSN 7 .*; it lacks .* is not known here/);
  assert.match(atBunker("init-sync", cut), /has not begun yet/);
  const filling = copyStatus("west", "init-sync", { image: "out-of-sync" });
  const log = copyStatus("vault", "streaming", { ...figures, mode: "bunker", image: "none" });
  assert.match(
    describeLoss(groupWith([filling, log]), "east"),
    /could be lost: west has no consistent image/,
  );
});

test("a journal that fills says in whole seconds when it is full", () => {
  const journal = { ...sampleGroup({}).journal, isPacing: true, overflowSeconds: 328.214 };
  assert.match(
    describeGroup(groupWith([], { journal }), "east").join("\n"),
    /full in 329s as of late/,
  );
});

test("a copy that keeps a preserved point says which, since when, and what it takes", () => {
  const preserved = {
    set: 4,
    lsn: 77,
    generation: 2,
    stampMs: 1_000,
    keptSinceMs: 2_000,
    phase: "kept",
    bytesUsed: 2 ** 20,
    bytesMax: 2 ** 26,
  } as const;
  const west = copyStatus("west", "resync", { image: "synchronizing", preserved });
  const seen = groupWith([west], { role: "secondary" });
  const text = describeGroup(seen, "west").join("\n");
  assert.match(
    text,
    /west keeps a preserved point: set 4 \(LSN 77 of generation 2\), of 1970-01-01T00:00:01\.000Z; its log takes 1MiB of 64MiB/,
  );
  assert.match(
    describeLoss(seen, "west"),
    /west could go back to set 4 \(LSN 77 of generation 2\)/,
  );
});

test("waiting ends when every copy, or the named one, is in its best or the named state", () => {
  const any = { copy: undefined, state: undefined };
  const mixed = groupWith([copyStatus("west", "synchronized"), copyStatus("north", "resync")]);
  assert.equal(holds(mixed, any), false);
  assert.equal(holds(mixed, { copy: "west", state: undefined }), true);
  assert.equal(holds(mixed, { copy: "north", state: "resync" }), true);
  assert.equal(holds(mixed, { copy: "south", state: undefined }), false);
  assert.equal(holds(groupWith([]), any), true);
  assert.equal(holds(groupWith([], { serving: false }), any), false);
});

test("tables align by what is seen, not by colours", () => {
  const rows = formatTable([
    ["NAME", "STATE", "WHY"],
    ["a", "\u001b[32mok\u001b[39m", ""],
    ["longer", "failed", "broken"],
  ]);
  assert.deepEqual(rows, [
    "NAME    STATE   WHY",
    "a       \u001b[32mok\u001b[39m",
    "longer  failed  broken",
  ]);
});

test("an inspection's report prints values by line, records as tables, and what is nested further in", () => {
  const report = {
    generation: 3,
    clean: true,
    members: [{ site: "west", lsn: 7 }],
    record: { slot: 1 },
    empty: [],
  };
  assert.deepEqual(describeReport(Object.entries(report)), [
    "generation: 3",
    "clean: true",
    "members: 1",
    "  site  lsn",
    "  west  7",
    "record:",
    "  slot: 1",
    "empty: 0",
  ]);
});

test("I33: where nobody has counted the writes that a copy lacks, their bytes and age are told, and no number", () => {
  const behind = { lagWrites: 8192, lagBytes: 2 ** 22, dirtyBytes: 2 ** 22, lagSeconds: 3 };
  const counted = groupWith([copyStatus("west", "fractured", behind)]);
  assert.match(describeLoss(counted, "east"), /at most 4MiB \(8192 writes\) of the last 3 s/);
  const seen = groupWith([copyStatus("west", "fractured", { ...behind, isLagCounted: false })]);
  assert.match(describeLoss(seen, "east"), /at most 4MiB, written in the last 3 s/);
  assert.match(describeGroup(seen, "east").join("\n"), /4MiB\/\?w\/3s/);
});

test("B9: replay without a log to use names those of the group, and the whole command", () => {
  const bunker = { mode: "bunker" } as CopyConfig;
  const hintOf = (sites: readonly string[], cancel: boolean): string =>
    withoutSource(
      { name: "bank", copies: new Map(sites.map((site) => [site, bunker])) },
      { cancel, site: "west" },
    ).hint ?? "";
  assert.equal(hintOf(["vault"], true), "antipode replay bank --cancel --from vault --site west");
  assert.match(
    hintOf(["vault", "mirror:bank"], false),
    /--from vault --site west; or --from PATH; P/,
  );
  assert.equal(hintOf([], false), "bank has no bunker");
});

test("U58: an event that begins with nothing known has no word for it", () => {
  const event = { seq: 1, time: "T", site: "east", kind: "link", group: "bank", copy: "west" };
  const why = "nobody listens";
  assert.equal(
    describeEvent({ ...event, to: "peer-down", why }),
    "T  east  bank west  link -> peer-down: nobody listens",
  );
});

test("B8: while a bunker has everything, the primary's death loses nothing, and the way is named", () => {
  const behind = copyStatus("west", "streaming", { mode: "async", lagWrites: 3, lagBytes: 4096 });
  const log = copyStatus("vault", "streaming", {
    mode: "bunker",
    image: "none",
    lagWrites: 0,
    lagBytes: 0,
    dirtyBytes: 0,
  });
  assert.match(
    describeLoss(groupWith([{ ...behind, dirtyBytes: 4096 }, log]), "east"),
    /nothing that was acked would be lost: west lacks .*3 writes.* a replay from vault brings it/,
  );
  const alone = { ...log, lagWrites: 2, lagBytes: 4096, state: "buffering" } as const;
  assert.match(describeLoss(groupWith([behind, alone]), "east"), /west would lack at most/);
});
