import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "#ports/file.ts";
import type { Folder } from "#ports/file.ts";
import { fileSuite } from "../../test/acceptance/file-suite.ts";
import { settle } from "../../test/support/settle.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { openFolder, openFolderIn } from "./folder.ts";

fileSuite("folder of the machine", () => {
  const temp = makeTempFolder();
  const path = join(temp, "data", "bank");
  return {
    openFolder: () => opened(path),
    settle,
    brokenName() {
      opened(path);
      fs.symlinkSync("/dev/full", join(path, "broken"));
      return "broken";
    },
    end: () => removeTempFolder(temp),
  };
});

test("row 40: a full disk fails the write with its name, and nothing is thrown", (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  fs.symlinkSync("/dev/full", join(temp, "journal"));
  const file = opened(temp).open("journal");
  assert.ok(!("code" in file));
  for (const chunks of [[Uint8Array.of(1)], [Uint8Array.of(1), Uint8Array.of(2)]]) {
    const failure = file.write(0, chunks);
    assert.equal(failure?.code, "ENOSPC");
    assert.match(failure.message, /^writing .*journal at byte 0: no space left on device/);
  }
  file.close();
});

test("a folder or file that cannot be made is a failure with a reason", (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  fs.writeFileSync(join(temp, "taken"), "");
  const folder = openFolder(join(temp, "taken", "bank"));
  assert.ok("code" in folder);
  assert.equal(folder.code, "ENOTDIR");
  fs.mkdirSync(join(temp, "subfolder"));
  const file = opened(temp).open("subfolder");
  assert.ok("code" in file);
  assert.equal(file.code, "EISDIR");
});

test("B13: a folder on a path is made, the path is not: a missing mount is no empty one", (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const path = join(temp, "mount");
  for (const makes of [true, false]) {
    const missing = openFolderIn(path, "bank", makes);
    assert.ok(isFailure(missing) && missing.code === "ENOENT");
  }
  fs.mkdirSync(path);
  assert.ok(isFailure(openFolderIn(path, "bank", false)), "who reads makes no folder");
  const written = openFolderIn(path, "bank", true);
  assert.ok(!isFailure(written) && !isFailure(written.open("log")));
  const read = openFolderIn(path, "bank", false);
  assert.ok(!isFailure(read) && !isFailure(read.open("log")));
  const none = read.open("other");
  assert.ok(isFailure(none) && none.code === "ENOENT", "nor any file");
  assert.deepEqual(read.list(), ["log"]);
  fs.rmSync(path, { recursive: true });
  assert.deepEqual(read.list(), [], "a path may be lost at any time");
  const lost = read.open("log");
  assert.ok(isFailure(lost) && /listing/.test(lost.message));
});

test("files are for their owner only", (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const file = opened(join(temp, "data")).open("record");
  assert.ok(!("code" in file));
  assert.equal(fs.statSync(join(temp, "data")).mode & 0o777, 0o700);
  assert.equal(fs.statSync(join(temp, "data", "record")).mode & 0o777, 0o600);
  file.close();
});

function opened(path: string): Folder {
  const folder = openFolder(path);
  if ("code" in folder) assert.fail(folder.message);
  return folder;
}
