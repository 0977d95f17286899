import fs from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { onEnd } from "./on-end.ts";
import { runCommand, runGood } from "./run-command.ts";
import { makeTempFolder, removeTempFolder } from "./temp-folder.ts";

// Small file systems of a test's own, to be filled.

/** Only root may mount. */
export const needsRoot = {
  skip: process.getuid?.() === 0 || process.env["CI"] === "true" ? false : "only root may mount",
};

/** A file system of this size in a folder of its own, gone at the test's end. */
export async function mountSmall(t: TestContext, size: string): Promise<string> {
  const folder = makeTempFolder();
  await mountAt(folder, size);
  // Once nobody writes there any more.
  onEnd(t, async () => {
    await runCommand("umount", ["-l", folder]);
    removeTempFolder(folder);
  });
  return folder;
}

/** A file system of this size at a place that is made for it and belongs to somebody else; unmounted at the test's end. */
export async function mountSmallAt(t: TestContext, place: string, size: string): Promise<void> {
  fs.mkdirSync(place, { recursive: true });
  await mountAt(place, size);
  onEnd(t, async () => {
    await runCommand("umount", ["-l", place]);
  });
}

async function mountAt(folder: string, size: string): Promise<void> {
  await runGood("mount", ["-t", "tmpfs", "-o", `size=${size}`, "antipode-test", folder]);
}

/** Takes all the room that a folder's file system has left; gives how to free it again. */
export function fill(folder: string): () => void {
  const path = join(folder, "filler");
  const fd = fs.openSync(path, "w");
  try {
    const block = Buffer.alloc(4096, 1);
    for (;;) fs.writeSync(fd, block);
  } catch (error: unknown) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "ENOSPC") throw error;
  } finally {
    fs.closeSync(fd);
  }
  return () => fs.rmSync(path);
}
