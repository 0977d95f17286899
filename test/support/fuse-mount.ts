import { spawn } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { onEnd } from "./on-end.ts";
import { runCommand } from "./run-command.ts";
import { makeTempFolder, removeTempFolder } from "./temp-folder.ts";
import { until } from "./until.ts";

/** An NBD export as a file, by way of nbdfuse(1). */
export type FuseMount = {
  readonly path: string;
  unmount(): Promise<void>;
};

/**
 * Mounts an export; gone at the test's end. Where this very process serves the export it must never touch the file by a
 * blocking call: it would wait for itself.
 */
export async function mountExport(t: TestContext, uri: string): Promise<FuseMount> {
  const folder = makeTempFolder();
  const path = join(folder, "disk");
  const child = spawn("nbdfuse", [path, uri], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  let hasEnded = false;
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const ended = new Promise<void>((resolve) => {
    child
      .on("error", (error) => (said += error.message))
      .on("close", () => {
        hasEnded = true;
        resolve();
      });
  });
  let isOver = false;
  const unmount = async (): Promise<void> => {
    if (isOver) return;
    isOver = true;
    await runCommand("fusermount3", ["-u", "-z", folder]);
    // Without its mount nbdfuse ends; one that hangs on a dead server is ended.
    child.kill("SIGTERM");
    await ended;
    removeTempFolder(folder);
  };
  onEnd(t, unmount);
  const isMounted = (): boolean => fs.readFileSync("/proc/self/mounts", "utf8").includes(folder);
  await until("nbdfuse has mounted the export", () => {
    if (hasEnded) throw new Error(`nbdfuse ended: ${said}`);
    return isMounted();
  });
  return { path, unmount };
}
