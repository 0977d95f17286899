import assert from "node:assert/strict";
import { test } from "node:test";
import { withTenure } from "#core/history.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import { isOutdated } from "./outdated.ts";

const first = withTenure([], "east", "a1");

function view(lsn: number, other: Partial<GroupView> = {}): GroupView {
  return {
    group: "bank",
    role: "primary",
    history: first,
    image: "consistent",
    lsn,
    lsnReserved: 1000,
    set: 0,
    stableLsn: 0,
    fractured: {},
    wallMs: 0,
    ...other,
  };
}

test("I33: of what a primary said, the slower connection brings nothing back that it has left behind", () => {
  assert.equal(isOutdated(view(7), view(8)), true);
  assert.equal(isOutdated(view(8), view(8)), false);
  assert.equal(isOutdated(view(9), view(8)), false);
  assert.equal(isOutdated(view(7), undefined), false);
});

test("what tells nothing of LSNs, or is of another role or history, is heard", () => {
  assert.equal(isOutdated(view(0, { failed: "a disk" }), view(8)), false);
  assert.equal(isOutdated(view(7, { role: "demoted" }), view(8)), false);
  assert.equal(isOutdated(view(7), view(8, { role: "secondary" })), false);
  const next = withTenure(first, "west", "b2");
  assert.equal(isOutdated(view(7, { history: next }), view(8)), false);
});
