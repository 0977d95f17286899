import assert from "node:assert/strict";
import { test } from "node:test";
import { withTenure } from "#core/history.ts";
import type { History } from "#core/history.ts";
import type { Group } from "./group.ts";
import { successorHeard } from "./successor.ts";

const first = withTenure([], "east", "a");

/** A site that is of the first generation, and has heard this of others; some of them answer still. */
function groupOf(heard: Readonly<Record<string, History>>, answering: readonly string[]): Group {
  const views = new Map(
    Object.entries(heard).map(([site, history]) => [site, { view: { history } }]),
  );
  const inquiries = { of: (site: string) => ({ isUp: answering.includes(site) }) };
  return {
    views,
    context: { store: { record: { history: first } }, inquiries },
  } as unknown as Group;
}

test("I33: nobody has taken over where all are of our generation, or of one before", () => {
  assert.equal(successorHeard(groupOf({ east: first, north: [] }, ["east", "north"])), undefined);
});

test("I33: the highest generation counts, and of the sites that are of it one that answers", () => {
  const second = withTenure(first, "north", "b");
  const third = withTenure(second, "vault", "c");
  const heard = { north: second, vault: third, west: third };
  const generation = 3;
  assert.deepEqual(successorHeard(groupOf(heard, ["north", "west", "vault"])), {
    site: "vault",
    primary: "vault",
    generation,
  });
  assert.deepEqual(successorHeard(groupOf(heard, ["north", "west"])), {
    site: "west",
    primary: "vault",
    generation,
  });
});
