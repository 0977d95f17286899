import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { sampleDocuments } from "../../../test/support/peer-samples.ts";
import {
  parseBegin,
  parseOpen,
  parseOpened,
  parseRefusal,
  parseReplayOpened,
} from "./documents.ts";
import { parseProbe } from "./probe.ts";
import { commonVersion, parseGreeting, parseProof, proofText } from "./handshake.ts";
import { peerVersions } from "./messages.ts";

type Json = Readonly<Record<string, unknown>>;
type Parser = { readonly parse: (value: unknown) => Result<unknown>; readonly sample: Json };

const parsers: Readonly<Record<string, Parser>> = {
  greeting: { parse: parseGreeting, sample: sampleDocuments.greeting },
  proof: { parse: parseProof, sample: sampleDocuments.proof },
  open: { parse: parseOpen, sample: sampleDocuments.open },
  lane: { parse: parseOpen, sample: sampleDocuments.lane },
  handover: { parse: parseOpen, sample: sampleDocuments.handover },
  replay: { parse: parseOpen, sample: sampleDocuments.replay },
  replayByItself: { parse: parseOpen, sample: sampleDocuments.replayByItself },
  cancel: { parse: parseOpen, sample: sampleDocuments.cancel },
  grow: { parse: parseOpen, sample: sampleDocuments.grow },
  takeBack: { parse: parseOpen, sample: sampleDocuments.takeBack },
  replayOpened: { parse: parseReplayOpened, sample: sampleDocuments.replayOpened },
  opened: { parse: parseOpened, sample: sampleDocuments.opened },
  refusal: { parse: parseRefusal, sample: sampleDocuments.refused },
  begin: { parse: parseBegin, sample: sampleDocuments.begin },
  probe: { parse: parseProbe, sample: sampleDocuments.probe },
};

/** Fields without which a document is still whole. */
const optional: ReadonlySet<string> = new Set([
  "cancel.isCancelled",
  "cancel.reached",
  "replayByItself.automaticAfterMs",
  "opened.preservedPoint",
  "refusal.history",
]);

function errorOf(result: Result<unknown>): string {
  return result.ok ? "" : result.error;
}

for (const [name, { parse, sample }] of Object.entries(parsers)) {
  test(`I34: ${name}: a whole document is taken, one that lacks a field is refused in words`, () => {
    const parsed = parse(sample);
    assert.ok(parsed.ok, errorOf(parsed));
    if (name !== "proof") assert.deepEqual(parsed.value, sample);
    for (const field of Object.keys(sample)) {
      const { [field]: _, ...rest } = sample;
      const isTaken = optional.has(`${name}.${field}`);
      assert.equal(errorOf(parse(rest)) === "", isTaken, `without ${field}`);
    }
  });

  test(`${name}: fields of a later version are left alone`, () => {
    assert.ok(parse({ ...sample, later: { than: ["now"] } }).ok);
  });

  test(`row 56: ${name}: no JSON makes the parser throw, and what it takes is not made up`, () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        assert.notEqual(errorOf(parse(value)), undefined);
      }),
      { numRuns: 200 },
    );
  });

  test(`row 56: ${name}: any value put into any place is taken as it is, or refused in words`, () => {
    const places = pathsOf(sample);
    fc.assert(
      fc.property(fc.constantFrom(...places), someValue, (path, value) => {
        const harmed = withValue(sample, path, value);
        const parsed = parse(harmed);
        if (!parsed.ok) return assert.ok(parsed.error.length > 0);
        if (name === "proof") return assert.equal(typeof parsed.value, "string");
        const taken = valueAt(parsed.value, path);
        const isMade = optional.has(`${name}.${path[0]}`);
        if (taken !== undefined && !isMade) assert.deepEqual(taken, value);
      }),
      { numRuns: 400 },
    );
  });
}

const someValue = fc.oneof(
  fc.constantFrom(null, true, "", -1, 0.5, 2 ** 53, 2 ** 60, 1e308, "x".repeat(257), [], {}),
  fc.jsonValue({ maxDepth: 2 }),
);

/** The way to every value in a document, containers too. */
function pathsOf(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [
    [...path, key],
    ...pathsOf(inner, [...path, key]),
  ]);
}

function withValue(document: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const inner = withValue((document as Json)[key], rest, value);
  if (Array.isArray(document)) return document.map((old, i) => (String(i) === key ? inner : old));
  return { ...(document as Json), [key]: inner };
}

function valueAt(document: unknown, path: readonly string[]): unknown {
  let value = document;
  for (const key of path) value = (value as Json | undefined)?.[key];
  return value;
}

test("row 56: texts, numbers and lists beyond their limits are refused", () => {
  const { open, greeting, probe, refused } = sampleDocuments;
  const long = "x".repeat(257);
  const refusals: readonly Result<unknown>[] = [
    parseOpen({ ...open, group: long }),
    parseOpen({ ...open, epoch: 2 ** 32 }),
    parseOpen({ ...open, lsn: 2 ** 53 }),
    parseOpen({ ...open, history: Array.from({ length: 10_001 }, () => open.history[0]) }),
    parseOpen({ ...open, purpose: "else" }),
    parseGreeting({ ...greeting, nonce: "short" }),
    parseGreeting({ ...greeting, antipode: 2 }),
    parseProof({ proof: long }),
    parseProbe({ ...probe, id: -1 }),
    parseRefusal({ ...refused, why: "x".repeat(4097) }),
    parseRefusal({ ...refused, code: "else" }),
  ];
  for (const [i, refusal] of refusals.entries()) assert.notEqual(errorOf(refusal), "", `case ${i}`);
});

test("an inquiry is opened by its purpose alone", () => {
  assert.deepEqual(parseOpen({ purpose: "inquiry", group: 7 }), {
    ok: true,
    value: { purpose: "inquiry" },
  });
});

test("row 33: two builds use the highest version that both speak, or say which they do", () => {
  const { lowest, highest } = peerVersions;
  assert.deepEqual(commonVersion({ lowest, highest }), { ok: true, value: highest });
  assert.deepEqual(commonVersion({ lowest: 0, highest: highest + 5 }), {
    ok: true,
    value: highest,
  });
  const tooNew = commonVersion({ lowest: highest + 1, highest: highest + 2 });
  assert.match(
    errorOf(tooNew),
    new RegExp(
      `peer protocol ${highest + 1} to ${highest + 2}, this build ${lowest} to ${highest}`,
    ),
  );
  assert.ok(!commonVersion({ lowest: 0, highest: lowest - 1 }).ok);
});

test("a proof signs role, cluster, both sites and both nonces, each in its own place", () => {
  const east = { site: "east", nonce: "n1" };
  const west = { site: "west", nonce: "n2" };
  const texts = [
    proofText("dialer", "acme", east, west),
    proofText("listener", "acme", east, west),
    proofText("dialer", "acme2", east, west),
    proofText("dialer", "acme", west, east),
    proofText("dialer", "acme", { ...east, nonce: "n3" }, west),
    proofText("dialer", "acme", east, { ...west, nonce: "n3" }),
  ];
  assert.equal(new Set(texts).size, texts.length);
  assert.equal(texts[0], "antipode peer proof\ndialer\nacme\neast\nwest\nn1\nn2");
});

test("row 33: what a site gave up, what it wrote by itself, and when a tenure began are told to who understands it", () => {
  const opened = (discards: unknown) => parseOpened({ ...sampleDocuments.opened, discards });
  const offered = opened(["b2"]);
  assert.deepEqual(offered.ok && offered.value.discards, ["b2"]);
  assert.ok(!opened("b2").ok && !opened([2]).ok);
  const [view] = sampleDocuments.probe.views;
  const probe = (more: object) => parseProbe({ id: 1, views: [{ ...view, ...more }] });
  const wrote = { regions: 3, bytes: 196_608, sinceMs: 7 };
  const told = probe({ wrote, discards: ["b2"], failedVolumes: ["data"], failed: "EIO" });
  assert.equal(told.ok && told.value.views[0]?.failed, "EIO");
  assert.deepEqual(told.ok && told.value.views[0]?.failedVolumes, ["data"]);
  assert.deepEqual(told.ok && [told.value.views[0]?.wrote, told.value.views[0]?.discards], [
    wrote,
    ["b2"],
  ]);
  for (const wrong of [
    { wrote: 3 },
    { wrote: { ...wrote, bytes: -1 } },
    { wrote: { ...wrote, sinceMs: "now" } },
    { discards: {} },
    { failedVolumes: "data" },
    { failed: { why: "EIO" } },
    { history: [{ counter: 1, id: "a1", site: "east", atMs: "now" }] },
    { history: [{ counter: 1, id: "a1", site: "east", heldLsn: -1 }] },
    { history: [{ counter: 1, id: "a1", site: "east", heldLsn: 1e300 }] },
    { history: [{ counter: 1, id: "a1", site: "east", isWhole: false }] },
  ])
    assert.ok(!probe(wrong).ok, JSON.stringify(wrong));
  const history = [{ counter: 1, id: "a1", site: "east", atMs: 9, heldLsn: 7, isWhole: true }];
  const dated = probe({ history });
  assert.deepEqual(dated.ok && dated.value.views[0]?.history, history);
});

test("U32, I34: what a replay that begins by itself rests on is told in a view, whole or not at all", () => {
  const [view] = sampleDocuments.probe.views;
  const probe = (more: object) => parseProbe({ id: 1, views: [{ ...view, ...more }] });
  const words = {
    primarySilentMs: 0,
    paused: ["west"],
    log: { activatedFor: "west", isCalledOff: true },
  };
  const told = probe(words);
  assert.ok(told.ok);
  assert.deepEqual(told.value.views, [{ ...view, ...words }]);
  assert.ok(probe({ log: {} }).ok);
  for (const wrong of [
    { primarySilentMs: -1 },
    { primarySilentMs: "long" },
    { paused: "west" },
    { log: [3] },
    { log: { activatedFor: 3 } },
    { log: { isCalledOff: false } },
  ])
    assert.ok(!probe(wrong).ok, JSON.stringify(wrong));
  const { replayByItself } = sampleDocuments;
  for (const automaticAfterMs of [-1, 1.5, "long"])
    assert.ok(!parseOpen({ ...replayByItself, automaticAfterMs }).ok, String(automaticAfterMs));
});

test("row 33: OPENED and BEGIN of a log are taken whole or refused, and are not asked of others", () => {
  const { opened, begin } = sampleDocuments;
  const logEnd = { incarnation: 2, lsn: 12, set: 7, index: 3 };
  const log = { anew: true, releasedLsn: 4, releasedSet: 2 };
  const told = parseOpened({ ...opened, logEnd });
  assert.deepEqual(told.ok && told.value.logEnd, logEnd);
  const begun = parseBegin({ ...begin, log, isReplay: true });
  assert.deepEqual(begun.ok && [begun.value.log, begun.value.isReplay], [log, true]);
  for (const wrong of [null, 1, {}, { ...logEnd, set: -1 }])
    assert.equal(parseOpened({ ...opened, logEnd: wrong }).ok, false);
  for (const wrong of [null, 1, {}, { ...log, anew: 1 }])
    assert.equal(parseBegin({ ...begin, log: wrong }).ok, false);
  assert.equal(parseBegin({ ...begin, isReplay: "yes" }).ok, false);
});

test("row 33: a copy says in OPENED what it unpacks, or nothing, as copies of before do", () => {
  const said = (unpacks: unknown) => parseOpened({ ...sampleDocuments.opened, unpacks });
  const offered = said(["zstd", "later"]);
  assert.deepEqual(offered.ok && offered.value.unpacks, ["zstd", "later"]);
  const silent = parseOpened(sampleDocuments.opened);
  assert.ok(silent.ok && !("unpacks" in silent.value));
  for (const wrong of ["zstd", [1], null]) assert.equal(said(wrong).ok, false);
});

test("I34: a size that no volume has is refused at the door: no copy grows to it, or zeroes what is beyond it", () => {
  const { open, grow, replay } = sampleDocuments;
  const max = limits.volumeBytesMax;
  const grows = (bytes: number) => parseOpen({ ...grow, bytes }).ok;
  const feeds = (bytes: number) => parseOpen({ ...open, volumes: [{ name: "data", bytes }] }).ok;
  const asks = (bytes: number) => parseOpen({ ...replay, volumes: [{ name: "data", bytes }] }).ok;
  for (const takes of [grows, feeds, asks]) {
    for (const bytes of [512, max]) assert.equal(takes(bytes), true, `${bytes}`);
    for (const bytes of [0, 511, 4097, max + 512, 2 ** 53 - 512])
      assert.equal(takes(bytes), false, `${bytes}`);
  }
});
