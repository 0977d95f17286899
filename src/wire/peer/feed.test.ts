import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFeed, parseFeedLost } from "./feed.ts";

const feed = { site: "west", incarnation: 2, epoch: 7, fromSet: 12, connections: 4 };
const lost = { epoch: 7, why: "a cut", isUnreadable: false };

test("I34: a FEED is taken as it was written; whatever it lacks, or has in no way of ours, is named", () => {
  for (const document of [feed, { ...feed, compress: "auto" }]) {
    const parsed = parseFeed(document);
    assert.deepEqual(parsed, { ok: true, value: document });
  }
  for (const wrong of [
    null,
    { ...feed, site: 3 },
    { ...feed, incarnation: undefined },
    { ...feed, epoch: -1 },
    { ...feed, fromSet: "12" },
    { ...feed, connections: 0 },
    { ...feed, compress: "zip" },
  ])
    assert.equal(parseFeed(wrong).ok, false);
});

test("I34: FEEDLOST says which feed, and why, in bounds", () => {
  assert.deepEqual(parseFeedLost(lost), { ok: true, value: lost });
  const long = parseFeedLost({ ...lost, why: "x".repeat(9_000) });
  assert.ok(long.ok && long.value.why.length === 500);
  for (const wrong of ["", { ...lost, epoch: null }, { ...lost, why: 1 }, { epoch: 7, why: "" }])
    assert.equal(parseFeedLost(wrong).ok, false);
});
