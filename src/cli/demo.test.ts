import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "#config/parse.ts";
import { demoConfig } from "./demo.ts";

test("a first demo is sites east, west and vault on loopback, and one group with a copy and a bunker", () => {
  const outcome = parseConfig({ path: "demo.yaml", text: demoConfig, resolvePath: (path) => path });
  assert.ok(outcome.ok, JSON.stringify(outcome));
  const { sites, groups } = outcome.config;
  assert.deepEqual([...sites.keys()], ["east", "west", "vault"]);
  assert.deepEqual([...groups.keys()], ["bank"]);
  const copies = [...(groups.get("bank")?.copies.values() ?? [])];
  assert.deepEqual(
    copies.map(({ site, mode }) => [site, mode]),
    [
      ["west", "async"],
      ["vault", "bunker"],
    ],
  );
});
