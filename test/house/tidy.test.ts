// Rules of the house that no tool knows. What the linter can see (layers, cycles, long functions, `any`) is in
// oxlint.config.ts.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { listFiles, root } from "../../tools/files.ts";

const fileLinesMax = 500;
const testFileLinesMax = 700;
/** Code is the formatter's affair, at 100 columns; prose, which it leaves as it is, may be a little wider. */
const commentCharactersMax = 128;

/** Files that nobody imports because they are started: by a launcher, the runner, a thread or a package's name. */
const entryPoints = [
  "src/index.ts",
  "src/cli/main.ts",
  "src/control/worker.ts",
  "sim/main.ts",
  "bench/main.ts",
  "tools/claims.ts",
  "tools/print-limits.ts",
  "tools/test.ts",
  // Programs that tests and the bench start.
  "test/support/fake-antipode.ts",
  "test/support/file-writer.ts",
  "test/support/full-disk.ts",
  "test/support/link-process.ts",
];

/** This file names what it forbids. */
const self = "test/house/tidy.test.ts";
const codeFiles = listFiles(".ts", ".mjs").filter((file) => file !== self);

test("no file is longer than a reader can hold", () => {
  const tooLong = codeFiles.filter((file) => {
    const linesMax = file.endsWith(".test.ts") ? testFileLinesMax : fileLinesMax;
    return read(file).split("\n").length - 1 > linesMax;
  });
  assert.deepEqual(tooLong, []);
});

test("no comment is wider than the screen of a reviewer", () => {
  assert.deepEqual(
    linesThat((line) => isComment(line) && line.length > commentCharactersMax),
    [],
  );
});

test("nothing is inherited but Error, nothing is decorated", () => {
  const inherits = /\bclass\b[^{]*\bextends\s+(?!Error\b)/;
  const decorates = /^\s*@[A-Za-z][\w.]*(\(.*\))?\s*$/;
  assert.deepEqual(
    linesThat((line) => (inherits.test(line) || decorates.test(line)) && !isComment(line)),
    [],
  );
});

test("no leftovers: no FIXME, and a TODO names its issue", () => {
  assert.deepEqual(
    linesThat((line) => /\bFIXME\b/.test(line) || /\bTODO\b(?! \(#\d+\))/.test(line)),
    [],
  );
});

test("no test is switched off, and none is the only one", () => {
  assert.deepEqual(
    linesThat((line) => /\b(?:test|it|describe|suite)\.(?:skip|todo|only)\b/.test(line)),
    [],
  );
});

test("nothing names a machine, a registry or a home", () => {
  // Pieces, so that the text of this test is not what it looks for.
  const machinePaths = ["/work" + "/", "/home" + "/", "bash" + "_jobs", "/root" + "/"];
  const registries = ["registry" + ".npmjs", "verd" + "accio", "art" + "ifactory"];
  const words = [...machinePaths, ...registries];
  const others = [
    "package.json",
    "package-lock.json",
    ".npmrc",
    ".ci/run",
    "bin/antipode",
    "STYLE.md",
  ];
  assert.deepEqual(
    linesThat((line) => words.some((word) => line.includes(word)), [...codeFiles, ...others]),
    [],
  );
});

test("the lock file names no address to download from", () => {
  assert.doesNotMatch(read("package-lock.json"), /"resolved": "(?!file:)/);
});

test("every dependency is pinned to one version", () => {
  const manifest = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;
  const kinds = ["dependencies", "devDependencies", "optionalDependencies"];
  const loose = kinds
    .flatMap((kind) => Object.entries(manifest[kind] ?? {}))
    .filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version));
  assert.deepEqual(loose, []);
});

test("no dependency needs an install script; those that bring one are refused by name", () => {
  const manifest = JSON.parse(read("package.json")) as { allowScripts?: Record<string, boolean> };
  const lock = JSON.parse(read("package-lock.json")) as {
    packages: Record<string, { hasInstallScript?: boolean }>;
  };
  const withScript = Object.entries(lock.packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript === true)
    .map(([path]) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length));
  const refused = Object.fromEntries(withScript.map((name) => [name, false]));
  assert.deepEqual(manifest.allowScripts ?? {}, refused);
});

test("every file is imported by another one, or is an entry point", () => {
  const imported = new Set(codeFiles.flatMap((file) => importsOf(file)));
  const sources = codeFiles.filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));
  const unused = sources.filter((file) => !imported.has(file) && !entryPoints.includes(file));
  assert.deepEqual(unused, []);
});

test("source does not import tests, simulator or bench, and the others meet it by #", () => {
  const sources = codeFiles.filter((file) => file.startsWith("src/") && !file.endsWith(".test.ts"));
  const outside = sources.filter((file) =>
    importsOf(file).some((path) => !path.startsWith("src/")),
  );
  assert.deepEqual(outside, []);
  const others = codeFiles.filter((file) => !file.startsWith("src/"));
  assert.deepEqual(
    linesThat((line) => /from "(?:\.\.\/)+src\//.test(line), others),
    [],
  );
});

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

function isComment(line: string): boolean {
  return /^\s*(?:\/\/|\/?\*)/.test(line);
}

/** `file:line` of every line for which it holds, so that a failure says where to go. */
function linesThat(
  holds: (line: string) => boolean,
  files: readonly string[] = codeFiles,
): string[] {
  return files.flatMap((file) =>
    read(file)
      .split("\n")
      .flatMap((line, index) => (holds(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
  );
}

/** Paths from the root of the files of ours that this one imports, also by `import()` and `new URL()`. */
function importsOf(file: string): string[] {
  const specifier = /(?:\bfrom\s+|\bimport\s+|\bimport\(\s*|new URL\(\s*)"((?:#|\.\.?\/)[^"]+)"/g;
  return [...read(file).matchAll(specifier)].map(([, path = ""]) =>
    path.startsWith("#") ? `src/${path.slice(1)}` : normalize(join(dirname(file), path)),
  );
}
