import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { must } from "#base/assert.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  LOCK_EXCLUSIVE_NOWAIT,
  nativeCalls,
  SEEK_DATA,
  SEEK_HOLE,
  whyNoNativeCalls,
} from "./sys.ts";

const { EBADF, ENXIO, EOPNOTSUPP, EWOULDBLOCK } = constants.errno;

test("the native calls do what their manual pages say, and answer errors as negative numbers", (t) => {
  const sys = must(nativeCalls(), whyNoNativeCalls());
  assert.equal(whyNoNativeCalls(), "");
  const temp = makeTempFolder();
  const path = join(temp, "file");
  const fd = fs.openSync(path, "w+");
  const other = fs.openSync(path, "r");
  t.after(() => {
    fs.closeSync(fd);
    fs.closeSync(other);
    removeTempFolder(temp);
  });
  fs.writeSync(fd, new Uint8Array(65_536).fill(3));

  const around = new Uint8Array(300);
  assert.equal(sys.readCached(fd, around.subarray(100, 200), 65_536 - 50), 50);
  assert.ok(around.subarray(100, 150).every((byte) => byte === 3));
  assert.ok(around.subarray(0, 100).every((byte) => byte === 0));
  assert.ok(around.subarray(150).every((byte) => byte === 0));
  assert.equal(sys.readCached(fd, new Uint8Array(8), 65_536), 0);

  const punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  assert.equal(sys.fallocate(fd, punch, 4096, 8192), 0);
  assert.equal(sys.lseek(fd, 0, SEEK_HOLE), 4096);
  assert.equal(sys.lseek(fd, 4096, SEEK_DATA), 12_288);
  assert.equal(sys.lseek(fd, 65_536, SEEK_DATA), -ENXIO);

  // What is taken ahead counts, and a gap does not: where the file system says so at all.
  assert.equal(sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, 65_536, 65_536), 0);
  assert.equal(sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, 262_144, 65_536), 0);
  if (sys.blocksEnd(fd, 0, 1) !== -EOPNOTSUPP) {
    assert.equal(sys.blocksEnd(fd, 0, 65_536), 4096);
    assert.equal(sys.blocksEnd(fd, 4096, 65_536), 4096);
    assert.equal(sys.blocksEnd(fd, 12_288, 131_072), 131_072);
    assert.equal(sys.blocksEnd(fd, 100_000, 262_144), 131_072);
    assert.equal(sys.blocksEnd(fd, 300_000, 400_000), 327_680);
  }

  assert.equal(sys.flock(fd, LOCK_EXCLUSIVE_NOWAIT), 0);
  assert.equal(sys.flock(other, LOCK_EXCLUSIVE_NOWAIT), -EWOULDBLOCK);

  assert.equal(sys.fallocate(-1, punch, 0, 1), -EBADF);
  assert.equal(sys.readCached(-1, new Uint8Array(1), 0), -EBADF);
});

test("ANTIPODE_NO_NATIVE=1 goes without, says so, and does not load the library", () => {
  const script = `
    import { nativeCalls, whyNoNativeCalls } from ${JSON.stringify(join(import.meta.dirname, "sys.ts"))};
    const isMissing = nativeCalls() === undefined;
    const isLoaded = process.report.getReport().sharedObjects.some((path) => path.includes("koffi"));
    process.stdout.write(JSON.stringify([isMissing, isLoaded, whyNoNativeCalls()]));
  `;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    env: { ...process.env, ANTIPODE_NO_NATIVE: "1" },
    encoding: "utf8",
  });
  assert.deepEqual(JSON.parse(child.stdout), [true, false, "ANTIPODE_NO_NATIVE=1 is set"]);
});
