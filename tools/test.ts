// `npm test`: the rules of the house, the tests, the simulator and the claims, in this order; then one line with the
// sum.
//
//   npm test                            everything
//   npm test -- --only unit             one part: check, unit, sim or claims
//   npm test -- src/core resync         unit tests of the files whose path contains one of these
//   npm test -- --name "F4:"            unit tests whose name matches this

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { checkHouse } from "./check.ts";
import { provideDebianPackages } from "./debian.ts";
import { root } from "./files.ts";
import { runProgram } from "./program.ts";
import { addTallies, emptyTally, formatTally, type Tally } from "./tally.ts";
import { runUnitTests } from "./unit.ts";

const partNames = ["check", "unit", "sim", "claims"] as const;
type PartName = (typeof partNames)[number];
type Selection = {
  readonly parts: readonly PartName[];
  readonly paths: readonly string[];
  readonly name: string | undefined;
};

const selection = readArguments(process.argv.slice(2));
// This process may itself be started by a test; the runs below must not take themselves for its parts.
delete process.env["NODE_TEST_CONTEXT"];

const stopped = new AbortController();
for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
  process.on(signal, () => stopped.abort(new Error(`stopped by ${signal}`)));
}

const logFolder = mkdtempSync(join(tmpdir(), "antipode-test-"));
process.env["ANTIPODE_CLAIMS_LOG"] = join(logFolder, "claims.jsonl");
let sum = emptyTally;
try {
  for (const part of selection.parts) {
    if (stopped.signal.aborted) break;
    console.log(`\n== ${part} ==\n`);
    const tally = await runPart(part);
    console.log(`\n${part}: ${formatTally(tally)}`);
    sum = addTallies(sum, tally);
  }
} finally {
  rmSync(logFolder, { recursive: true, force: true });
}
if (stopped.signal.aborted) {
  const cut = `${String(stopped.signal.reason)}: the parts above are not the whole run`;
  sum = addTallies(sum, { passed: 0, failed: 1, skipped: 0, failures: [cut] });
}
// A run prints thousands of lines, and who looks at its end wants to see what to mend.
if (sum.failures.length > 0) console.log(`\n== failed ==\n\n${sum.failures.join("\n")}`);
console.log(`\n${formatTally(sum)}`);
process.exitCode = sum.failed === 0 ? 0 : 1;

function runPart(part: PartName): Promise<Tally> {
  const { signal } = stopped;
  switch (part) {
    case "check":
      return checkHouse(signal);
    case "unit":
      return runUnit(signal);
    case "sim":
      return runProgram("sim/main.ts", ["--ci"], signal);
    case "claims":
      return runProgram("tools/claims.ts", [], signal);
  }
}

async function runUnit(signal: AbortSignal): Promise<Tally> {
  const missing = provideDebianPackages(root);
  process.env["ANTIPODE_MISSING_TOOLS"] = missing.join(",");
  const tally = await runUnitTests({ paths: selection.paths, name: selection.name, signal });
  if (missing.length === 0) return tally;
  console.log(`not installed, so their tests were skipped: ${missing.join(" ")}`);
  console.log(`install them, or run as root: apt-get install ${missing.join(" ")}`);
  // CI must not turn green by leaving the strangers' judgement out.
  if (process.env["CI"] !== "true") return tally;
  const failures = missing.map((name) => `FAILED: ${name} is not installed, CI needs it`);
  return addTallies(tally, { passed: 0, failed: missing.length, skipped: 0, failures });
}

function readArguments(argv: string[]): Selection {
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      options: { only: { type: "string", multiple: true }, name: { type: "string" } },
      allowPositionals: true,
    });
    // Whoever names files or tests wants those, not an hour of everything else.
    const narrowed = positionals.length > 0 || values.name !== undefined;
    const wanted = values.only ?? (narrowed ? ["unit"] : partNames);
    const unknown = wanted.find((part) => !partNames.includes(part as PartName));
    if (unknown !== undefined) throw new Error(`'${unknown}' is not a part of the test run`);
    const parts = partNames.filter((part) => wanted.includes(part));
    return { parts, paths: positionals, name: values.name };
  } catch (error) {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    console.error(`hint: npm test -- [--only ${partNames.join("|")}] [--name PATTERN] [PATH ...]`);
    return process.exit(2);
  }
}
