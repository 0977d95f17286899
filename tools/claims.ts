// `npm run claims`: every claim, and what proves it. A claim of a finished issue (docs/claims.json) that nothing cites,
// or whose fault tests made no fault or saw none take effect, is a failure; so is an id that does not exist.

import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { allIds, citedIds, expandIds } from "./claim-ids.ts";
import { listFiles, root } from "./files.ts";
import { formatTally } from "./tally.ts";

/** What is known of one claim. */
type Evidence = {
  readonly tests: Set<string>;
  readonly checkers: Set<string>;
  readonly mutants: Set<string>;
  readonly scenarios: Set<string>;
  /** Counts that runs left, added up; undefined where none did. */
  counts: { faultsInjected: number; effectsSeen: number } | undefined;
};

/** A line of the file that $ANTIPODE_CLAIMS_LOG names: counts of a fault test, or the name of a test that passed. */
type LogLine =
  | { readonly id: string; readonly faultsInjected: number; readonly effectsSeen: number }
  | { readonly test: string };

type Kind = "tests" | "checkers" | "mutants" | "scenarios";

const evidence = new Map<string, Evidence>(allIds.map((id) => [id, noEvidence()]));
const problems: string[] = [];

scanTests();
scanSimulator();
scanScenarios();
readLog();
report();

function scanTests(): void {
  const title = /\b(?:test|it|describe|suite)\(\s*(["'`])((?:\\.|(?!\1)[^\\])*)\1/g;
  for (const file of listFiles(".test.ts")) {
    for (const [, , name = ""] of read(file).matchAll(title)) cite("tests", name, file);
  }
}

/** Checkers report under the id that they check; mutants say which claim would notice them. */
function scanSimulator(): void {
  const literal = /"((?:\\.|[^"\\\n])*)"/g;
  for (const file of listFiles(".ts").filter(isSimulator)) {
    const kind = file.startsWith("sim/mutants/") ? "mutants" : "checkers";
    for (const [, text = ""] of withoutComments(read(file)).matchAll(literal)) {
      const isId = /^(?:[FBSAIN]\d+|row \d+)$/.test(text);
      cite(kind, isId ? `${text}:` : text, file);
    }
  }
}

function isSimulator(file: string): boolean {
  return file.startsWith("sim/") && !file.endsWith(".test.ts");
}

function withoutComments(source: string): string {
  return source.replace(/^\s*(?:\/\/|\/?\*).*$/gm, "");
}

/** The comments of a scenario say what it tells and which claims that proves. */
function scanScenarios(): void {
  const files = globSync("{scenarios,sim/scenarios,test/scenarios}/**/*.txt", { cwd: root });
  for (const file of files.toSorted()) {
    for (const line of read(file).split("\n")) {
      if (line.startsWith("#")) cite("scenarios", line.slice(1).trim(), file);
    }
  }
}

function cite(kind: Kind, name: string, source: string): void {
  for (const id of citedIds(name)) {
    const known = evidence.get(id);
    // The same name may be found in its file and again in what ran; one report of it is enough.
    const isReported = problems.some((problem) => problem.endsWith(`, which is no claim: ${name}`));
    if (known === undefined && isReported) continue;
    if (known === undefined) problems.push(`${source} cites ${id}, which is no claim: ${name}`);
    else known[kind].add(kind === "tests" ? name : source);
  }
}

/** What this very run left: without the variable, or before any test ran, there is nothing. */
function readLog(): void {
  const file = process.env["ANTIPODE_CLAIMS_LOG"];
  if (file === undefined || !existsSync(file)) return;
  for (const text of readFileSync(file, "utf8").split("\n")) {
    if (text === "") continue;
    const line = JSON.parse(text) as LogLine;
    if ("test" in line) cite("tests", line.test, "a test that ran");
    else addCounts(line);
  }
}

function addCounts(line: { id: string; faultsInjected: number; effectsSeen: number }): void {
  const known = evidence.get(line.id);
  if (known === undefined) {
    problems.push(`a run left counts for ${line.id}, which is no claim`);
    return;
  }
  known.counts ??= { faultsInjected: 0, effectsSeen: 0 };
  known.counts.faultsInjected += line.faultsInjected;
  known.counts.effectsSeen += line.effectsSeen;
}

function report(): void {
  const finished = finishedIds();
  let proven = 0;
  for (const [id, known] of evidence) {
    const lack = lackOf(known);
    if (lack === undefined) proven += finished.has(id) ? 1 : 0;
    else if (finished.has(id)) problems.push(`${id} belongs to a finished issue: ${lack}`);
    console.log(rowOf(id, known, finished.has(id)));
  }
  for (const problem of problems) console.log(`FAILED: ${problem}`);
  console.log(formatTally({ passed: proven, failed: problems.length, skipped: 0 }));
  process.exitCode = problems.length === 0 ? 0 : 1;
}

/** Why the claim is not proven; undefined when it is. */
function lackOf({ tests, checkers, scenarios, counts }: Evidence): string | undefined {
  // A mutant alone proves nothing: it has to be caught by a checker or a test.
  if (tests.size + checkers.size + scenarios.size === 0) return "nothing cites it";
  if (counts === undefined) return undefined;
  if (counts.faultsInjected === 0) return "its tests made no fault";
  if (counts.effectsSeen === 0) return "none of the faults its tests made took effect";
  return undefined;
}

function rowOf(id: string, known: Evidence, isFinished: boolean): string {
  const state = lackOf(known) === undefined ? "cited" : isFinished ? "LACKING" : "open";
  const sources = [
    known.tests.size > 0 ? `${known.tests.size} tests` : "",
    ...known.checkers,
    ...known.scenarios,
    known.mutants.size > 0 ? `${known.mutants.size} mutants` : "",
    known.counts === undefined
      ? ""
      : `${known.counts.faultsInjected} faults, ${known.counts.effectsSeen} effects seen`,
    [...known.tests][0] ?? "",
  ].filter((part) => part !== "");
  return `${id.padEnd(7)} ${state.padEnd(8)} ${sources.join("; ")}`.trimEnd();
}

function finishedIds(): Set<string> {
  const { issues } = JSON.parse(read("docs/claims.json")) as {
    issues: { issue: number; finished: boolean; ids: string[] }[];
  };
  // Also the lists of unfinished issues are read, so that a slip in one shows before it counts.
  const lists = issues.map(({ finished, ids }) => ({ finished, ids: expandIds(ids) }));
  return new Set(lists.filter(({ finished }) => finished).flatMap(({ ids }) => ids));
}

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

function noEvidence(): Evidence {
  return {
    tests: new Set(),
    checkers: new Set(),
    mutants: new Set(),
    scenarios: new Set(),
    counts: undefined,
  };
}
