// The rules that tools check: format, lint with the layers, types, and types without Node in the pure layers.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { codeFolders, root } from "./files.ts";
import { runNode } from "./program.ts";
import type { Tally } from "./tally.ts";

const lint = "node_modules/oxlint/bin/oxlint";
const format = "node_modules/oxfmt/bin/oxfmt";
const compile = "node_modules/typescript/bin/tsc";

/** Runs all the checks, also after one has failed, so that one run shows everything there is to mend. */
export async function checkHouse(signal: AbortSignal): Promise<Tally> {
  const folders = codeFolders.filter((folder) => existsSync(join(root, folder)));
  const checks: readonly (readonly [string, ...string[]])[] = [
    ["format (npm run format mends it)", format, "--check", "."],
    [
      "lint",
      lint,
      "--type-aware",
      "--deny-warnings",
      "--report-unused-disable-directives",
      ...folders,
    ],
    ["types", compile, "-p", "tsconfig.json"],
    ["types of the pure layers", compile, "-p", "tsconfig.pure.json"],
  ];
  const failures: string[] = [];
  for (const [name, ...argv] of checks) {
    const { code } = await runNode(argv, signal);
    console.log(`${code === 0 ? "ok" : "FAILED"}: ${name}`);
    if (code !== 0) failures.push(`FAILED: ${name}`);
  }
  const failed = failures.length;
  return { passed: checks.length - failed, failed, skipped: 0, failures };
}
