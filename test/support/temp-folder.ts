import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A new folder of a test's own; whoever makes it removes it with `removeTempFolder`. */
export function makeTempFolder(): string {
  return fs.mkdtempSync(join(tmpdir(), "antipode-test-"));
}

export function removeTempFolder(path: string): void {
  fs.rmSync(path, { recursive: true, force: true });
}
