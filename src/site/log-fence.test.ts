import assert from "node:assert/strict";
import { test } from "node:test";
import { withTenure } from "#core/history.ts";
import type { History } from "#core/history.ts";
import { isFailure } from "#ports/file.ts";
import type { IoFailure } from "#base/errors.ts";
import { ownerName, writeOwner } from "#store/owner-file.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { createLogFence } from "./log-fence.ts";

const first = withTenure([], "east", "a");
const second = withTenure(first, "west", "b");
const forked = withTenure([], "west", "c");

/** A folder whose log is of the first generation, as the primary of that one writes it. */
function fencedFolder() {
  const folder = createMemoryFolder();
  const own = (history: History, activatedFor?: string): void =>
    writeOwner(
      folder,
      {
        cluster: "c",
        group: "g",
        history,
        ...(activatedFor === undefined ? {} : { activatedFor }),
      },
      (failure) => assert.equal(failure, undefined),
    );
  own(first);
  const told: string[] = [];
  const fence = createLogFence({ folder, history: first, onTaken: (why) => told.push(why) });
  const file = fence.folder.open("log");
  if (isFailure(file)) assert.fail(file.message);
  const sync = (): IoFailure | undefined => {
    let failure: IoFailure | undefined;
    let answers = 0;
    file.sync((failed) => {
      failure = failed;
      answers += 1;
    });
    assert.equal(answers, 1);
    return failure;
  };
  const write = (): IoFailure | undefined => file.write(0, [new Uint8Array([1])]);
  return { folder, fence, file, own, told, sync, write };
}

test("U32: no sync of a log succeeds once it is activated for a replay (decision 6)", () => {
  const { own, told, sync, write } = fencedFolder();
  assert.equal(write(), undefined);
  assert.equal(sync(), undefined);
  own(first, "west");
  // What is written before the look does no harm: nothing rests on it.
  assert.equal(write(), undefined);
  assert.equal(sync()?.code, "ESTALE");
  assert.equal(write()?.code, "ESTALE");
  own(first);
  assert.equal(sync()?.code, "ESTALE", "never again over this session");
  assert.equal(told.length, 1, "told once");
  assert.match(told[0] ?? "", /activated for a replay to west/);
});

test("U32: no sync of a log succeeds that another generation has taken over, nor of one of another history", () => {
  for (const history of [second, forked]) {
    const { own, sync, told } = fencedFolder();
    own(history);
    assert.equal(sync()?.code, "ESTALE");
    assert.match(told[0] ?? "", /the log is of generation . of west/);
  }
});

test("U32: what another machine needs is not removed by a primary of old, nor given another name", () => {
  const { folder, fence, own } = fencedFolder();
  own(first, "west");
  assert.equal(fence.folder.remove("log")?.code, "ESTALE");
  assert.equal(fence.folder.rename("log", "spare")?.code, "ESTALE");
  assert.deepEqual(fence.folder.list(), []);
  assert.ok(folder.exists("log"));
});

test("B15: a folder that is gone is a failure of the sync, and nobody has taken the log", () => {
  const { folder, sync, told } = fencedFolder();
  folder.remove(ownerName);
  assert.equal(sync()?.code, "ENOENT");
  assert.deepEqual(told, []);
});

test("N4: what a session still has under way is not written once it is over", () => {
  const { fence, write, sync } = fencedFolder();
  fence.close("the session is over");
  assert.match(write()?.message ?? "", /the session is over/);
  assert.notEqual(sync(), undefined);
});
