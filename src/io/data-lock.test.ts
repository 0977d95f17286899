import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { AppError } from "#base/errors.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { takeDataLock } from "./data-lock.ts";

test("a data folder is made, and belongs to one opener until it is released", (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const data = join(temp, "var", "east");
  const lock = takeDataLock(data);
  assert.throws(
    () => takeDataLock(data),
    (error) =>
      error instanceof AppError &&
      error.message === `the data folder ${data} is in use by process ${process.pid}` &&
      error.hint !== undefined,
  );
  lock.release();
  takeDataLock(data).release();
});

test("a data folder that cannot be made is an error that names it", (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  fs.writeFileSync(join(temp, "file"), "");
  assert.throws(
    () => takeDataLock(join(temp, "file", "east")),
    (error) => error instanceof AppError && error.message.includes(join(temp, "file", "east")),
  );
});
