import type { TestContext } from "node:test";
import { mountExport } from "./fuse-mount.ts";
import { onEnd } from "./on-end.ts";
import { runCommand, runGood } from "./run-command.ts";
import { makeTempFolder, removeTempFolder } from "./temp-folder.ts";

/** A host's block device over an export: nbdfuse, then a loop device. */
export type LoopDisk = {
  /** Such as /dev/loop3. */
  readonly device: string;
  /** Mounts its file system, which replays the journal, and returns the mount point. */
  mount(): Promise<string>;
  /** Unmounts. What the disk does not take any more is given up. */
  unmount(): Promise<void>;
  /** Unmounts and detaches everything. */
  close(): Promise<void>;
};

/** Attaches an export; detached at the test's end. Needs root. */
export async function attachLoopDisk(t: TestContext, uri: string): Promise<LoopDisk> {
  const fuse = await mountExport(t, uri);
  const device = (await runGood("losetup", ["--find", "--show", fuse.path])).trim();
  let folder: string | undefined;
  let isOpen = true;
  const unmount = async (): Promise<void> => {
    if (folder === undefined) return;
    const { code } = await runCommand("umount", [folder]);
    if (code !== 0) await runGood("umount", ["-l", folder]);
    removeTempFolder(folder);
    folder = undefined;
  };
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    await unmount();
    await runCommand("losetup", ["--detach", device]);
    await fuse.unmount();
  };
  onEnd(t, close);
  return {
    device,
    async mount() {
      folder = makeTempFolder();
      await runGood("mount", ["-t", "ext4", device, folder]);
      return folder;
    },
    unmount,
    close,
  };
}
