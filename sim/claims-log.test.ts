import assert from "node:assert/strict";
import { test } from "node:test";
import { claimCounts } from "./claims-log.ts";
import { faultKinds } from "./swarm.ts";

test("every fault that a world can count stands for rows of the matrix, and an invariant for what its checker was asked", () => {
  const faults = [...faultKinds, "rot"];
  const counts = claimCounts(
    new Map([...faults.map((kind) => [`faults:${kind}`, 2] as const), ["checks:I4", 7]]),
  );
  const byId = new Map(counts.map((count) => [count.id, count]));
  assert.deepEqual(byId.get("I4"), {
    id: "I4",
    faultsInjected: 2 * faults.length,
    effectsSeen: 7,
  });
  assert.deepEqual(byId.get("row 44"), { id: "row 44", faultsInjected: 2, effectsSeen: 2 });
  for (const { id, effectsSeen } of counts) assert.ok(effectsSeen > 0, id);
});
