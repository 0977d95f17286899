import assert from "node:assert/strict";
import { test } from "node:test";
import { createPrng } from "./prng.ts";
import { runSeed } from "./run.ts";
import type { RunResult } from "./run.ts";
import { drawSwarm } from "./swarm.ts";
import type { Swarm } from "./swarm.ts";
import { plainSites } from "./testing/plain-site.ts";
import type { Lie } from "./testing/plain-site.ts";

/** A seed's world with a single site and one group, so that a plain site can carry it. */
function lonely(seed: number): Swarm {
  // A plain disk has no answer to an image that cannot be written, and knows of no device behind a link.
  const { imageErrorGapUs: _, devices: __, ...swarm } = drawSwarm(createPrng(seed).fork("swarm"));
  const [group] = swarm.config.groups.values();
  assert.ok(group);
  const faults = swarm.faults.filter(
    (kind) => kind === "kill" || kind === "power" || kind === "crashPoint" || kind === "pause",
  );
  return {
    ...swarm,
    sites: ["east"],
    faults: faults.length === 0 ? ["power"] : faults,
    operator: [],
    hosts: swarm.hosts.map((host) => ({ ...host, group: group.name })),
    config: { ...swarm.config, groups: new Map([[group.name, { ...group, copies: new Map() }]]) },
    clones: 0,
  };
}

function run(seed: number, lie: Lie): RunResult {
  return runSeed({
    seed,
    createSite: plainSites(lie),
    counters: new Map(),
    told: false,
    swarm: lonely(seed),
  });
}

test("a plain disk keeps a disk's promises: no checker complains of it over 60 seeds", () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const { findings } = run(seed, "none");
    assert.deepEqual(findings, [], `seed ${seed}`);
  }
});

for (const [lie, ids] of [
  ["flush without sync", ["I1", "N1"]],
  ["ack before write", ["I1", "I2", "I32"]],
  ["stale reads", ["I8", "I32"]],
  ["lose a write", ["I1"]],
] as const) {
  test(`a disk that lies is caught: ${lie}`, () => {
    const caught = new Set<string>();
    for (let seed = 1; seed <= 60; seed += 1)
      for (const { id } of run(seed, lie).findings) caught.add(id);
    assert.ok(
      ids.some((id) => caught.has(id)),
      `caught by ${[...caught].join(", ") || "nobody"}`,
    );
  });
}

test("the same seed takes the same path", () => {
  for (let seed = 100; seed < 120; seed += 1) {
    assert.equal(run(seed, "none").hash, run(seed, "none").hash, `seed ${seed}`);
  }
});
