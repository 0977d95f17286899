import assert from "node:assert/strict";
import { test } from "node:test";
import type { LaneOpen } from "#wire/peer/documents.ts";
import { sampleDocuments } from "../../test/support/peer-samples.ts";
import { wireTo } from "../../test/support/wire-to.ts";
import { acceptLane } from "./copy-sets.ts";
import type { CopySets } from "./copy-sets.ts";

test("I28, N4: a connection is taken for the session that it was dialled for: same generation, start of the primary, and epoch", () => {
  const lane: LaneOpen = { ...sampleDocuments.lane, purpose: "lane" };
  const session = wireTo("east", () => undefined);
  const wire = { ...session, generation: lane.generation, epoch: lane.epoch };
  const host = { wire: () => wire, incarnation: () => lane.incarnation };
  const sets = { host, lanes: new Map() } as unknown as CopySets;
  const { peer } = wireTo("gate", () => undefined);
  const asks = (changes: Partial<LaneOpen>): string =>
    acceptLane(sets, peer, { ...lane, ...changes });
  assert.match(asks({ epoch: lane.epoch + 1 }), /no such session/);
  assert.match(asks({ generation: lane.generation - 1 }), /no such session/);
  // Epochs begin anew with the primary's process: a relay that has not heard of that may dial for the old one's.
  assert.match(asks({ incarnation: lane.incarnation - 1 }), /an earlier start/);
  assert.equal(sets.lanes.size, 0);
  assert.equal(asks({}), "");
  assert.equal(sets.lanes.size, 1);
});
