import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { frameType } from "#wire/peer/messages.ts";
import { count } from "../support/claims.ts";
import { hasEntry, type SeenFrame, withEntries } from "../support/frame-proxy.ts";
import {
  assertCaughtUp,
  type Bank,
  commit,
  heldAt,
  setsOf,
  startBank,
} from "../support/sets-bank.ts";
import { until } from "../support/until.ts";

// A peer that sends what no primary would, with checksums that are right: refused in words, never applied, and made good
// by what the journal has as soon as the peer is honest again.

type Lie = {
  readonly name: string;
  readonly kind: Entry["kind"];
  readonly tell: (frame: SeenFrame) => SeenFrame;
  readonly refusal: RegExp;
};

const lines =
  (change: (entry: Entry) => Partial<Entry>) =>
  (frame: SeenFrame): SeenFrame =>
    withEntries(frame, (entry) => ({ ...entry, ...change(entry) }));

/** One bit of the last payload byte, which its line's checksum does not know of. */
function flipped(frame: SeenFrame): SeenFrame {
  const body = Uint8Array.from(frame.body);
  body[body.length - 1] = (body.at(-1) ?? 0) ^ 1;
  return { ...frame, body };
}

const lies: readonly Lie[] = [
  {
    name: "a count that is too low",
    kind: "seal",
    tell: lines(({ index }) => ({ index: index - 1 })),
    refusal: /set \d+ has index 2, above its count of 1/,
  },
  {
    name: "another digest",
    kind: "seal",
    tell: lines(({ payloadCrc }) => ({ payloadCrc: payloadCrc ^ 1 })),
    refusal: /set \d+ has another content than its SEAL says: the digests differ/,
  },
  {
    name: "a SEAL that claims a later LSN",
    kind: "seal",
    tell: lines(({ lsn }) => ({ lsn: lsn + 1 })),
    refusal: /set \d+ has LSNs up to \d+, and a SEAL that says \d+/,
  },
  {
    name: "a SEAL that covers sets to come",
    kind: "seal",
    tell: lines(({ set }) => ({ offset: set + 1 })),
    refusal: /set \d+ has a SEAL that covers from \d+/,
  },
  {
    name: "a write at another place",
    kind: "write",
    tell: lines(({ offset }) => ({ offset: offset + MiB })),
    refusal: /set \d+ has another content than its SEAL says/,
  },
  {
    name: "other bytes",
    kind: "write",
    tell: flipped,
    refusal: /the checksum of a write's bytes does not match/,
  },
  {
    name: "a write beyond the volume",
    kind: "write",
    tell: lines(() => ({ offset: 64 * MiB })),
    refusal: /a write reaches beyond its volume/,
  },
  {
    name: "a volume that there is not",
    kind: "write",
    tell: lines(() => ({ volume: 9 })),
    refusal: /there is no volume 9 here/,
  },
  {
    name: "an index of none",
    kind: "write",
    tell: lines(() => ({ index: 0 })),
    refusal: /set \d+ has index 0, outside/,
  },
  {
    name: "an incarnation to come",
    kind: "write",
    tell: lines(({ incarnation }) => ({ incarnation: incarnation + 1 })),
    refusal: /set \d+ has an entry of incarnation \d+, after this one/,
  },
];

/** Tells the lie about the next commit, and lets nothing more come: what the copy makes of it can be looked at. */
async function lieOnce(bank: Bank, { kind, tell }: Lie, byte: number): Promise<void> {
  const { toWest } = bank;
  let isTold = false;
  toWest.forth = (frame) => {
    const isIt = !isTold && hasEntry(frame, (entry) => entry.kind === kind && isOfCommit(entry));
    if (!isIt) return "pass";
    isTold = true;
    toWest.isClosed = true;
    return [tell(frame)];
  };
  await commit(bank, 20, byte);
  await until("the lie was told", () => isTold);
}

/** Why the copy ended sessions, in its own words, from now on. */
function refusalsOf({ toWest }: Bank): string[] {
  const whys: string[] = [];
  toWest.back = ({ header, body }) => {
    if (header.type === frameType.failed)
      whys.push((JSON.parse(Buffer.from(body).toString()) as { why: string }).why);
    return "pass";
  };
  return whys;
}

/** Neither a set that an idle group seals. */
function isOfCommit(entry: Entry): boolean {
  return entry.kind !== "seal" || entry.index > 1;
}

test("I20, I34, S8: what a peer says falsely about a set is refused in words, never applied, and comes again as it is (row 32)", async (t) => {
  const bank = await startBank(t);
  const { east, west, toWest, cluster } = bank;
  await commit(bank, 20, 1);
  await assertCaughtUp(bank);
  let refused = 0;
  for (const [index, lie] of lies.entries()) {
    const byte = index + 2;
    const whys = refusalsOf(bank);
    await lieOnce(bank, lie, byte);
    await cluster.copyIs("east", "west", "buffering");
    await until(`it is refused: ${lie.name}`, () => whys.length > 0);
    assert.match(whys[0] ?? "", lie.refusal, lie.name);
    assert.deepEqual(heldAt(west, 20), [byte - 1, byte - 1], `${lie.name} is not applied`);
    refused += 1;
    toWest.forth = () => "pass";
    toWest.isClosed = false;
    await assertCaughtUp(bank);
    assert.deepEqual(heldAt(west, 20), [byte, byte]);
  }
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "the journal had it all");
  count("row 32", { faultsInjected: lies.length, effectsSeen: refused });
});

test("S8, I20: a SEAL with too high a count leaves its set incomplete for good, until another SEAL contradicts it", async (t) => {
  const bank = await startBank(t);
  const { west, toWest, cluster } = bank;
  let set = 0;
  toWest.forth = (frame) => {
    set ||= setsOf(frame)[0] ?? 0;
    const isIt = hasEntry(frame, (entry) => entry.kind === "seal" && entry.set === set);
    return isIt ? [lines(({ index }) => ({ index: index + 1 }))(frame)] : "pass";
  };
  await commit(bank, 20, 1);
  await commit(bank, 21, 1);
  // Each comes on connections of its own: the next set may be there before the last of this one.
  const { copies } = await west.until("the next set is complete", ({ copies: [copy] }) => {
    const sets = copy?.sets ?? [];
    const isNext = sets.some((each) => each.set > set && each.phase === "complete");
    return (
      isNext &&
      sets.some((each) => each.set === set && each.received === 2 && each.expected !== undefined)
    );
  });
  const shown = copies[0]?.sets.find((each) => each.set === set);
  assert.deepEqual([shown?.received, shown?.expected, shown?.phase], [2, 3, "receiving"]);
  assert.deepEqual(
    [heldAt(west, 20), heldAt(west, 21)],
    [
      [0, 0],
      [0, 0],
    ],
  );
  const whys = refusalsOf(bank);
  toWest.forth = () => "pass";
  toWest.cut();
  await cluster.copyIs("east", "west", "streaming");
  await assertCaughtUp(bank);
  assert.ok(whys.some((why) => /two SEALs, which differ: counts [23] and [23]/.test(why)));
  assert.deepEqual(
    [heldAt(west, 20), heldAt(west, 21)],
    [
      [1, 1],
      [1, 1],
    ],
  );
});
