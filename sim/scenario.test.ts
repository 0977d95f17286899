import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import type { Site, SiteOptions } from "#site/site.ts";
import { loadTimeLimits, setLimits } from "./knobs.ts";
import type * as Scenarios from "./scenario.ts";

// `ANTIPODE_REWRITE=1 npm test -- sim/scenario` writes what the commands print now; the difference is for a person to judge.

const folder = join(import.meta.dirname, "scenarios");
const rewrites = process.env["ANTIPODE_REWRITE"] === "1";
let createSite: (options: SiteOptions) => Site;
let runScenario: typeof Scenarios.runScenario;

before(async () => {
  setLimits(loadTimeLimits);
  // Not before the limits are set: the simulator loads parts of the engine, too.
  ({ createSite } = await import("#site/site.ts"));
  ({ runScenario } = await import("./scenario.ts"));
});

for (const name of fs.readdirSync(folder).toSorted())
  test(`scenario ${name}: its commands print what stands there, and no checker finds anything`, () => {
    const path = join(folder, name);
    const text = fs.readFileSync(path, "utf8");
    const found = runScenario(text, createSite);
    if (rewrites) fs.writeFileSync(path, found);
    else assert.equal(found, text);
    assert.ok(found.includes("\n----\n"), "it prints something");
  });
