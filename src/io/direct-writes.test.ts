import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { must } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { settle } from "../../test/support/settle.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { DirectMemory } from "./direct-memory.ts";
import { type DirectFile, DirectWrites } from "./direct-writes.ts";
import { OpenFile } from "./open-file.ts";

const unit = limits.directWriteUnitBytes;
const gone: IoFailure = { code: "EBADF", message: "it was closed" };

test("what is short waits for the long ones under way, and all behind it for its turn", () => {
  const { direct, ends, log } = world();
  long(direct, 0, 1, log);
  long(direct, 1, 1, log);
  direct.after(5 * unit, 512, () => log.push("short"));
  long(direct, 2, 1, log);
  assert.equal(direct.isIdle, false);
  ends.end(0);
  assert.deepEqual(log, ["0"]);
  ends.end(1);
  assert.deepEqual(log, ["0", "1", "short"]);
  ends.end(2);
  assert.deepEqual(log, ["0", "1", "short", "2"]);
  assert.ok(direct.isIdle);
});

test("long writes that overlap are made one after the other, others side by side, as many as may be", () => {
  const { direct, ends, log } = world();
  long(direct, 0, 2, log);
  long(direct, 1, 2, log);
  assert.deepEqual(ends.begun(), [0]);
  ends.end(0);
  for (let page = 10; page < 20; page += 1) long(direct, page, 1, log);
  assert.deepEqual(ends.begun(), [1, 10, 11].slice(0, limits.directWritesMax));
  ends.end(10);
  assert.deepEqual(ends.begun(), [1, 11, 12]);
});

test("a read waits for what was to be written there before it, and for nothing else", () => {
  const { direct, ends, log } = world();
  long(direct, 0, 2, log);
  direct.after(5 * unit, 512, () => log.push("short"));
  const changed = [0, 1, 2, 5, 6].map((page) => direct.changes(page * unit, unit));
  assert.deepEqual(changed, [true, true, false, true, false]);
  assert.equal(direct.changes(5 * unit + 512, 512), false);
  ends.end(0);
  assert.equal(direct.changes(0, 9 * unit), false);
});

test("images that share the memory wait for each other, and none for ever", () => {
  const memory = new DirectMemory();
  const one = world(memory);
  const other = world(memory);
  for (let page = 0; page < 5; page += 1) long(one.direct, page, 1, one.log);
  long(other.direct, 0, 1, other.log);
  assert.deepEqual(other.ends.begun(), []);
  one.ends.end(0);
  assert.deepEqual(one.ends.begun(), [1, 2, 3], "it has waited longer");
  one.ends.end(1);
  assert.deepEqual(other.ends.begun(), [0]);
  other.ends.end(0);
  assert.deepEqual(one.ends.begun(), [2, 3, 4], "and gave the memory back");
});

test("only the last of several long writes in a row go this way, and none that does not fill whole units", () => {
  const { direct } = world(new DirectMemory(), { bytesMin: 2 * unit, runMin: 2 });
  const taken = (offset: number, length: number) => direct.takes(offset, length);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => taken(0, 2 * unit)),
    [false, false, true, true],
  );
  assert.equal(taken(0, unit), false, "a short one");
  assert.equal(taken(0, 2 * unit), false, "and so it begins anew");
  taken(0, 2 * unit);
  assert.equal(taken(0, 2 * unit), true);
  assert.equal(taken(512, 2 * unit), false, "at no whole unit");
});

test("what the disk refuses as none that it can make goes by way of the page cache, and so does all that comes", () => {
  const { direct, ends, log, cached } = world();
  const bytes = long(direct, 3, 2, log);
  ends.end(3, { code: "EINVAL", message: "no" });
  assert.deepEqual(log, ["3"]);
  assert.deepEqual(cached, [{ offset: 3 * unit, bytes }]);
  assert.equal(direct.takes(0, unit), false);
});

test("what a write left over is made by way of the page cache, which says why it cannot be", () => {
  const full: IoFailure = { code: "ENOSPC", message: "full" };
  const { direct, ends, log, cached } = world(new DirectMemory(), { refuses: full });
  const bytes = long(direct, 0, 2, log);
  ends.end(0, undefined, unit + 512);
  assert.deepEqual(log, ["0 ENOSPC"]);
  assert.deepEqual(cached, [{ offset: unit + 512, bytes: bytes.subarray(unit + 512) }]);
  long(direct, 0, 1, log);
  ends.end(0, full);
  assert.deepEqual(log, ["0 ENOSPC", "0 ENOSPC"], "and so is what the disk itself has no room for");
});

test("what waits when the file is closed fails, and touches nothing", () => {
  const state = world();
  const { direct, ends, log } = state;
  long(direct, 0, 1, log);
  direct.after(5 * unit, 512, () => log.push("short"));
  long(direct, 1, 1, log);
  state.dead = gone;
  direct.close();
  ends.end(0);
  assert.deepEqual(log, ["0 EBADF", "short", "1 EBADF"]);
  assert.deepEqual(ends.begun(), []);
});

test("long and short writes of any order leave the file as if made one by one", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const path = join(temp, "image");
  const pages = 600;
  fs.writeFileSync(path, new Uint8Array(pages * unit));
  const fd = fs.openSync(path, fs.constants.O_RDWR);
  const cached = new OpenFile(fd, path);
  const file = new OpenFile(fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_DIRECT), path);
  let past = 0;
  const counted: DirectFile = {
    writeInPool(offset, bytes, done) {
      past += 1;
      file.writeInPool(offset, bytes, done);
    },
    close: () => file.close(),
  };
  const direct = new DirectWrites({
    file: counted,
    memory: new DirectMemory(),
    bytesMin: 2 * unit,
    runMin: 1,
    dead: () => undefined,
    writeCached: (offset, chunks) => cached.write(offset, chunks),
  });
  const someWrite = fc.record({
    page: fc.nat(pages - 301),
    // The longest need memory twice.
    pages: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 200, max: 300 })),
    cut: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  const twin = new Uint8Array(fs.readFileSync(path));
  const check = async (writes: readonly { page: number; pages: number; cut: number }[]) => {
    let left = writes.length;
    const ended = (failure: IoFailure | undefined): void => {
      assert.equal(failure, undefined);
      left -= 1;
    };
    for (const { page, pages: count, cut } of writes) {
      const bytes = randomBytes(count * unit);
      const at = Math.floor(cut * bytes.length);
      const chunks = [bytes.subarray(0, at), bytes.subarray(at)];
      twin.set(bytes, page * unit);
      if (direct.takes(page * unit, bytes.length))
        direct.write(page * unit, bytes.length, chunks, ended);
      else if (direct.isIdle) ended(cached.write(page * unit, chunks));
      else direct.after(page * unit, bytes.length, () => ended(cached.write(page * unit, chunks)));
    }
    await settle(() => left === 0);
    assert.ok(Buffer.compare(fs.readFileSync(path), twin) === 0);
  };
  await fc.assert(fc.asyncProperty(fc.array(someWrite, { minLength: 1, maxLength: 30 }), check), {
    numRuns: 40,
  });
  assert.ok(past > 100, `${past} writes went past the page cache`);
  direct.close();
  cached.close();
});

type World = {
  readonly direct: DirectWrites;
  readonly ends: Ends;
  readonly log: string[];
  readonly cached: { offset: number; bytes: Uint8Array }[];
  dead: IoFailure | undefined;
};

/** Ends the write to this page; and the pages that are being written to. */
type Ends = {
  end(page: number, failure?: IoFailure, count?: number): void;
  begun(): number[];
};

function world(
  memory = new DirectMemory(),
  options: { bytesMin?: number; runMin?: number; refuses?: IoFailure } = {},
): World {
  const underWay = new Map<
    number,
    { bytes: Uint8Array; done: Parameters<DirectFile["writeInPool"]>[2] }
  >();
  const ends: Ends = {
    end(page, failure, count) {
      const { bytes, done } = must(underWay.get(page), `page ${page} is being written`);
      underWay.delete(page);
      done(failure === undefined ? (count ?? bytes.length) : 0, failure);
    },
    begun: () => [...underWay.keys()],
  };
  const file: DirectFile = {
    writeInPool: (offset, bytes, done) => underWay.set(offset / unit, { bytes, done }),
    close: () => undefined,
  };
  const cached: World["cached"] = [];
  const { bytesMin = unit, runMin = 0, refuses } = options;
  const state: World = {
    direct: new DirectWrites({
      file,
      memory,
      bytesMin,
      runMin,
      dead: () => state.dead,
      writeCached(offset, chunks) {
        cached.push({ offset, bytes: Uint8Array.from(Buffer.concat(chunks)) });
        return refuses;
      },
    }),
    ends,
    log: [],
    cached,
    dead: undefined,
  };
  return state;
}

/** A long write of whole units, in two chunks; logs its first page when it is answered. */
function long(direct: DirectWrites, page: number, pages: number, log: string[]): Uint8Array {
  const bytes = new Uint8Array(randomBytes(pages * unit));
  const chunks = [bytes.subarray(0, 700), bytes.subarray(700)];
  direct.write(page * unit, totalBytes(chunks), chunks, (failure) => {
    log.push(failure === undefined ? `${page}` : `${page} ${failure.code}`);
  });
  return bytes;
}
