import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { settle } from "../../test/support/settle.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { OpenFile } from "./open-file.ts";

test("more chunks than one system call takes are written whole", (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const path = join(temp, "many");
  const file = new OpenFile(fs.openSync(path, "w+"), path);
  const chunks = Array.from({ length: 5_000 }, (_, index) => Uint8Array.of(index & 0xff));
  assert.equal(file.write(3, chunks), undefined);
  file.close();
  assert.ok(fs.readFileSync(path).subarray(3).equals(Buffer.concat(chunks)));
});

test("the descriptor outlives close until the calls in the pool are back", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const path = join(temp, "busy");
  const order: string[] = [];
  const file = new OpenFile(fs.openSync(path, "w+"), path, () => order.push("closed"));
  assert.equal(file.write(0, [new Uint8Array(8192).fill(6)]), undefined);
  const into = new Uint8Array(8192);
  file.readInPool(0, into, 0, (failure) => order.push(failure?.message ?? "read"));
  file.fdatasync((failure) => order.push(failure?.message ?? "synced"));
  file.close();
  file.close();
  assert.deepEqual(order, []);
  await settle(() => order.length === 3);
  assert.deepEqual(new Set(order), new Set(["closed", "read", "synced"]));
  assert.ok(into.every((byte) => byte === 6));
});

test("a read beyond an end that should not be there fails", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const path = join(temp, "cut");
  const file = new OpenFile(fs.openSync(path, "w+"), path);
  assert.equal(file.write(0, [new Uint8Array(100)]), undefined);
  const results: string[] = [];
  file.readInPool(0, new Uint8Array(200), 0, (failure) => results.push(failure?.code ?? "ok"));
  await settle(() => results.length === 1);
  assert.deepEqual(results, ["EIO"]);
  file.close();
});
