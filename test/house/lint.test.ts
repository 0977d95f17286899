// Every rule of the linter that the house adds is shown to fire: a rule that is misspelt, or a pattern that matches
// nothing, is silent, and silence looks like order.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { layers } from "../../tools/layers.ts";
import { root } from "../../tools/files.ts";

type Snippet = {
  readonly what: string;
  /** Rule expected to fire, or null where the snippet must pass. */
  readonly rule: string | null;
  readonly path: string;
  readonly source: string;
};

const restricted = "eslint(no-restricted-imports)";
const restrictedGlobal = "eslint(no-restricted-globals)";

const byHand: readonly Snippet[] = [
  {
    what: "Node in pure code",
    rule: restricted,
    path: "src/core/a1.ts",
    source: `import "node:fs";`,
  },
  {
    what: "a package in pure code",
    rule: restricted,
    path: "src/core/a2.ts",
    source: `import "zod";`,
  },
  {
    what: "the parent folder",
    rule: restricted,
    path: "src/io/a3.ts",
    source: `import { target } from "../base/target.ts";\nexport const a = target;`,
  },
  {
    what: "a parent folder inside a layer",
    rule: restricted,
    path: "src/wire/nbd/a4.ts",
    source: `import { target } from "../target.ts";\nexport const a = target;`,
  },
  {
    what: "another layer, deep",
    rule: restricted,
    path: "src/core/a5.ts",
    source: `import { target } from "#wire/nbd/target.ts";\nexport const a = target;`,
  },
  {
    what: "a layer of which only types are free",
    rule: restricted,
    path: "src/site/a6.ts",
    source: `import { target } from "#config/target.ts";\nexport const a = target;`,
  },
  {
    what: "types of a layer of which only types are free",
    rule: null,
    path: "src/site/a7.ts",
    source: `import type { Target } from "#config/target.ts";\nexport type A = Target;`,
  },
  {
    what: "an allowed layer, deep",
    rule: null,
    path: "src/site/a8.ts",
    source: `import { target } from "#wire/nbd/target.ts";\nexport const a = target;`,
  },
  {
    what: "the one package of the base",
    rule: null,
    path: "src/base/a9.ts",
    source: `import { crc32 } from "@node-rs/crc32";\nexport const a = crc32;`,
  },
  {
    what: "Node in a test beside pure code, and test() left to its runner",
    rule: null,
    path: "src/core/a10.test.ts",
    source: `import { test } from "node:test";\ntest("a", () => { setTimeout(() => {}, 1); });`,
  },
  {
    what: "time",
    rule: restrictedGlobal,
    path: "src/core/b1.ts",
    source: `export const a = Date.now();`,
  },
  {
    what: "randomness",
    rule: "eslint(no-restricted-properties)",
    path: "src/store/b2.ts",
    source: `export const a = Math.random();`,
  },
  {
    what: "a timer",
    rule: restrictedGlobal,
    path: "src/site/b3.ts",
    source: `setTimeout(() => {}, 1);`,
  },
  {
    what: "process",
    rule: restrictedGlobal,
    path: "src/wire/b4.ts",
    source: `export const a = process.pid;`,
  },
  { what: "console", rule: restrictedGlobal, path: "src/ports/b5.ts", source: `console.log(1);` },
  {
    what: "a cycle",
    rule: "import(no-cycle)",
    path: "src/base/c1.ts",
    source: `import { b } from "./c1-other.ts";\nexport const a = () => b;`,
  },
  {
    what: "the other half of the cycle",
    rule: "import(no-cycle)",
    path: "src/base/c1-other.ts",
    source: `import { a } from "./c1.ts";\nexport const b = () => a;`,
  },
  {
    what: "a default export",
    rule: "import(no-default-export)",
    path: "src/io/c2.ts",
    source: `export default 1;`,
  },
  {
    what: "a barrel",
    rule: "oxc(no-barrel-file)",
    path: "src/base/c3.ts",
    source: `export * from "./target.ts";`,
  },
  {
    what: "a floating promise",
    rule: "typescript(no-floating-promises)",
    path: "src/io/d1.ts",
    source: `export async function a(): Promise<void> {}\na();`,
  },
  {
    what: "a missing case",
    rule: "typescript(switch-exhaustiveness-check)",
    path: "src/io/d2.ts",
    source: `export function a(k: "x" | "y"): number { switch (k) { case "x": return 1; } return 2; }`,
  },
  {
    what: "any",
    rule: "typescript(no-explicit-any)",
    path: "src/io/d3.ts",
    source: `export const a: any = 1;`,
  },
  {
    what: "a value imported for its type",
    rule: "typescript(consistent-type-imports)",
    path: "src/io/d4.ts",
    source: `import { Target } from "#base/target.ts";\nexport type A = Target;`,
  },
  {
    what: "five parameters",
    rule: "eslint(max-params)",
    path: "src/io/d5.ts",
    source: `export const f = (a: 1, b: 1, c: 1, d: 1, e: 1): number => a + b + c + d + e;`,
  },
  {
    what: "a long function",
    rule: "eslint(max-lines-per-function)",
    path: "src/io/d6.ts",
    source: `export function f(g: () => void): void {\n${"  g();\n".repeat(71)}}`,
  },
  {
    what: "something outright wrong",
    rule: "eslint(no-self-assign)",
    path: "src/io/d7.ts",
    source: `export function f(a: { b: number }): void { a.b = a.b; }`,
  },
];

let folder = "";
/** Rules that fired, by file. */
const fired = new Map<string, string[]>();

before(() => {
  folder = mkdtempSync(join(tmpdir(), "antipode-lint-"));
  for (const file of ["oxlint.config.ts", "tools/layers.ts", "package.json", "tsconfig.json"]) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    copyFileSync(join(root, file), join(folder, file));
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const target = `export type Target = 1;\nexport const target = 1;\n`;
  for (const { name } of layers) write(`src/${name}/target.ts`, target);
  write("src/wire/nbd/target.ts", target);
  for (const { path, source } of [...byHand, ...crossings()]) write(path, `${source}\n`);
  lint();
});

after(() => rmSync(folder, { recursive: true, force: true }));

for (const { what, rule, path } of [...byHand, ...crossings()]) {
  test(`the linter ${rule === null ? "lets pass" : "refuses"} ${what}`, () => {
    assert.deepEqual(new Set(fired.get(path)), new Set(rule === null ? [] : [rule]));
  });
}

test("a layer stands above everything it imports", () => {
  const heights = new Map(layers.map(({ name }, height) => [name, height]));
  for (const { name, from, typesFrom } of layers) {
    for (const lower of [...from, ...typesFrom]) {
      assert.ok((heights.get(lower) ?? Infinity) < (heights.get(name) ?? -1), `${name}, ${lower}`);
    }
  }
});

/** One value import for every pair of layers: the table, pair by pair. */
function crossings(): Snippet[] {
  return layers.flatMap((layer) =>
    layers.map((other) => {
      const isFree = other === layer || layer.from.includes(other.name);
      return {
        what: `#${other.name}/ in ${layer.name}`,
        rule: isFree ? null : restricted,
        path: `src/${layer.name}/uses-${other.name}.ts`,
        source: `import { target } from "#${other.name}/target.ts";\nexport const a = target;`,
      };
    }),
  );
}

function write(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

function lint(): void {
  const oxlint = join(root, "node_modules/oxlint/bin/oxlint");
  const { stdout } = spawnSync(process.execPath, [oxlint, "--type-aware", "-f", "json", "src"], {
    cwd: folder,
    encoding: "utf8",
  });
  const report = JSON.parse(stdout) as { diagnostics: { code: string; filename: string }[] };
  for (const { code, filename } of report.diagnostics) {
    fired.set(filename, [...(fired.get(filename) ?? []), code]);
  }
}
