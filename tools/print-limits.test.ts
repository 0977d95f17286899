import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { root } from "./files.ts";
import { limitsPage } from "./print-limits.ts";

test("docs/limits.md is current: else run node tools/print-limits.ts --write", () => {
  assert.equal(readFileSync(join(root, "docs/limits.md"), "utf8"), limitsPage());
});

test("the page has every limit", () => {
  const page = limitsPage();
  for (const name of Object.keys(limits)) assert.ok(page.includes(`| \`${name}\` |`), name);
});
