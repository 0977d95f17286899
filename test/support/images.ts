import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { runCommand } from "./run-command.ts";

/** Fails unless both images hold the same bytes. Nobody may write to them meanwhile. */
export async function assertEqualImages(one: string, other: string): Promise<void> {
  const { code, stdout, stderr } = await runCommand("cmp", [one, other]);
  assert.equal(code, 0, `${stdout}${stderr}`);
}

/** SHA-256 of a file. */
export function hashFile(path: string): string {
  return createHash("sha256").update(fs.readFileSync(path)).digest("hex");
}
