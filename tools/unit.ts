// Runs the `*.test.ts` files with node:test and counts what they say.

import { appendFileSync } from "node:fs";
import { finished } from "node:stream/promises";
import { join, relative } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { listFiles, root } from "./files.ts";
import type { Tally } from "./tally.ts";

/**
 * Fewer tests than this in a full run means that files were not found, not that the house became small: a pattern that
 * matches nothing would otherwise succeed with nothing. Raised as the suite grows.
 */
const testsMin = 250;

/** Files wait for sites and timers more than they compute. Each keeps to its own folders and ports. */
const filesAtOnce = 3;

/** A file that takes longer hangs; its tests count as failed. */
const fileMsMax = 300_000;

/** An assertion may print two whole documents. */
const reasonCharactersMax = 800;

/** `paths` are parts of file paths, any of which selects a file; `name` is a pattern for the names of tests. */
export type UnitOptions = {
  readonly paths: readonly string[];
  readonly name: string | undefined;
  readonly signal: AbortSignal;
};

export async function runUnitTests({ paths, name, signal }: UnitOptions): Promise<Tally> {
  const isFull = paths.length === 0 && name === undefined;
  const files = listFiles(".test.ts").filter(
    (file) => paths.length === 0 || paths.some((part) => file.includes(part)),
  );
  const stream = run({
    cwd: root,
    files: files.map((file) => join(root, file)),
    concurrency: filesAtOnce,
    timeout: fileMsMax,
    signal,
    ...(name === undefined ? {} : { testNamePatterns: [new RegExp(name)] }),
  });
  const failures: string[] = [];
  const tally = { passed: 0, failed: 0, skipped: 0, failures };
  stream.on("test:summary", ({ file, counts }) => {
    // The one without a file is the sum over all of them.
    if (file !== undefined) return;
    tally.passed = counts.passed;
    tally.failed = counts.tests - counts.passed - counts.skipped;
    tally.skipped = counts.skipped;
  });
  stream.on("test:pass", ({ name: passedName, skip }) => {
    if (skip === undefined) notePassed(passedName);
  });
  stream.on("test:fail", ({ name: failedName, file, details }) => {
    failures.push(`FAILED: ${failedName} (${shortPath(file)}): ${reasonOf(details.error)}`);
  });
  await finished(stream.compose(spec).on("data", (text) => process.stdout.write(String(text))));

  const floor = isFull ? testsMin : 1;
  const total = tally.passed + tally.failed + tally.skipped;
  if (total < floor) {
    const few = `only ${total} tests ran, at least ${floor} should have`;
    console.log(few);
    failures.push(few);
    tally.failed += 1;
  }
  return tally;
}

function shortPath(file: string | undefined): string {
  return file === undefined ? "no file" : relative(root, file);
}

/** The runner wraps what a test threw; both may tell something. */
function reasonOf(error: Error): string {
  const { cause } = error;
  return (cause instanceof Error ? cause.message : error.message).slice(0, reasonCharactersMax);
}

/** Names that are put together at run time are seen only here; `npm run claims` reads them for the ids they cite. */
function notePassed(test: string): void {
  const file = process.env["ANTIPODE_CLAIMS_LOG"];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ test })}\n`);
}
