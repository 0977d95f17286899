import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogWorld } from "../../test/support/log-world.ts";
import { logName, removeOtherLogs, removeSpareLogs } from "./log-files.ts";

const own = `${logName("preserve", 0xabcd)}-00000001.log`;
const old = `${logName("preserve", 5)}-00000001.log`;
const spare = `${logName("preserve", 5)}-00000002.log.spare`;
const branch = `${logName("branch", 5)}-00000001.log`;
const staging = "staging-0000abcd-00000001.log";

function folderWithLogs() {
  const folder = createLogWorld().folder();
  for (const name of [own, old, spare, branch, staging, "group.record"]) folder.open(name);
  return folder;
}

test("files of other logs of a kind are removed, and nothing else", () => {
  const folder = folderWithLogs();
  removeOtherLogs(folder, "preserve", 0xabcd);
  assert.deepEqual(folder.list().toSorted(), [branch, "group.record", own, staging]);
  removeOtherLogs(folder, "preserve", undefined);
  removeOtherLogs(folder, "branch", undefined);
  assert.deepEqual(folder.list().toSorted(), ["group.record", staging]);
});

test("spares of a log nobody appends to any more go, and its segments stay", () => {
  const folder = folderWithLogs();
  removeSpareLogs(folder, "preserve");
  assert.deepEqual(folder.list().toSorted(), [branch, "group.record", old, own, staging]);
});
