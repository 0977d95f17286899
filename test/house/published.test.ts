import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { listFiles, root } from "../../tools/files.ts";

// Every published failure of docs/published-failures.md has a test that tells it.

test("every published failure that the page lists is told by a test", () => {
  const page = readFileSync(join(root, "docs/published-failures.md"), "utf8");
  const listed = [...page.matchAll(/^\| (C\d+) \|/gm)].map(([, id = ""]) => id);
  const told = new Set<string>();
  for (const file of listFiles(".test.ts")) {
    const source = readFileSync(join(root, file), "utf8");
    for (const [, ids = ""] of source.matchAll(/\(PEERS ([^)]*)\)["`]/g))
      for (const id of ids.match(/C\d+/g) ?? []) told.add(id);
  }
  assert.ok(listed.length > 0, "the page lists none");
  assert.deepEqual(
    listed.filter((id) => !told.has(id)),
    [],
  );
});
