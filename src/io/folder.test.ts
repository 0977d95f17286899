import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Folder } from "#ports/file.ts";
import { fileSuite } from "../../test/acceptance/file-suite.ts";
import { settle } from "../../test/support/settle.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { openFolder } from "./folder.ts";

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
