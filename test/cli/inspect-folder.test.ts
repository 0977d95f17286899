import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openReadOnly } from "#cli/inspect-folder.ts";
import { inspectWithLogs } from "#cli/inspect-logs.ts";
import type { File } from "#ports/file.ts";
import { isFailure } from "#ports/file.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";

// The folder as `inspect` sees it. A file that it made, or a name that it brought back, would stay with the site for good.

test("a file that is gone by now stays gone, and is no damage", (t) => {
  const path = makeTempFolder();
  t.after(() => removeTempFolder(path));
  const name = "journal-00c0ffee-00000001.log";
  const folder = openReadOnly(path);
  // What a site that runs removes between the look at the names and the look at the file.
  const { logs } = inspectWithLogs({ ...folder, list: () => [name] });
  assert.deepEqual(logs, []);
  assert.deepEqual(fs.readdirSync(path), []);
});

test("it reads like the site does, zeros beyond the end, and refuses to write, remove or sync", (t) => {
  const path = makeTempFolder();
  t.after(() => removeTempFolder(path));
  fs.writeFileSync(join(path, "file"), "antipode");
  // Nobody needs the right to write, and an access time is nobody's business here.
  fs.chmodSync(join(path, "file"), 0o400);
  const folder = openReadOnly(path);
  const opened = folder.open("file");
  assert.ok(!isFailure(opened));
  const file: File = opened;
  const bytes = new Uint8Array(6).fill(1);
  assert.equal(file.read(4, bytes), undefined);
  assert.equal(Buffer.from(bytes).toString("latin1"), "pode\0\0");
  assert.equal(file.write(0, [bytes])?.code, "EROFS");
  assert.equal(folder.remove("file")?.code, "EROFS");
  const told: (string | undefined)[] = [];
  file.sync((failure) => told.push(failure?.code));
  folder.sync((failure) => told.push(failure?.code));
  assert.deepEqual(told, ["EROFS", "EROFS"]);
  file.close();
  assert.equal(fs.readFileSync(join(path, "file"), "utf8"), "antipode");
});
