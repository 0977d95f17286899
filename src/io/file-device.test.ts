import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { totalBytes } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import {
  blockDeviceSuite,
  type BlockDeviceWorld,
  DEVICE_BYTES,
} from "../../test/acceptance/block-device-suite.ts";
import { settle } from "../../test/support/settle.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { DirectMemory } from "./direct-memory.ts";
import { createFileDevice, type FileDeviceOptions, piecesOf } from "./file-device.ts";
import { nativeCalls, type Sys } from "./sys.ts";
import { createUnsyncedBudget } from "./unsynced-bound.ts";

blockDeviceSuite("sparse file", () => fileWorld(nativeCalls()));
blockDeviceSuite("sparse file without native calls", () => fileWorld(undefined));
blockDeviceSuite("sparse file, whole pages past the page cache", () => directWorld(0));
blockDeviceSuite("sparse file, the second of whole pages past the page cache", () =>
  directWorld(1),
);
blockDeviceSuite("sparse file whose file system can do nothing special", () =>
  fileWorld({
    fallocate: () => -95,
    blocksEnd: () => -95,
    lseek: () => -22,
    readCached: () => -95,
    adviseUnneeded: () => 0,
    adviseRandom: () => -95,
    flock: () => -95,
  }),
);

test("punching a hole gives its space back, zeroing keeps it", async (t) => {
  assert.ok(nativeCalls(), "koffi is installed");
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const path = join(temp, "image");
  const device = openAt(path, nativeCalls());
  const usedBytes = (): number => fs.statSync(path).blocks * 512;
  write(device, 0, new Uint8Array(DEVICE_BYTES).fill(1));
  // Space is only given out for good when the data goes to the disk.
  let isSynced = false;
  device.sync(() => {
    isSynced = true;
  });
  await settle(() => isSynced);
  const fullBytes = usedBytes();
  zero(device, 0, DEVICE_BYTES / 2, false);
  assert.equal(usedBytes(), fullBytes);
  zero(device, 0, DEVICE_BYTES / 2, true);
  assert.ok(usedBytes() <= fullBytes / 2 + 4096);
  device.close();
});

test("zeroing by writing takes any length", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const bytes = 2 * limits.zeroChunkBytes + 12_345;
  const device = openAt(join(temp, "image"), undefined, bytes);
  write(device, 0, new Uint8Array(bytes).fill(1));
  zero(device, 1, bytes - 2, true);
  let read: Uint8Array | undefined;
  device.read(0, bytes, undefined, (_, failure, content) => {
    assert.equal(failure, undefined);
    read = content;
  });
  await settle(() => read !== undefined);
  assert.equal(read?.[0], 1);
  assert.equal(read?.[bytes - 1], 1);
  assert.ok(read?.subarray(1, -1).every((byte) => byte === 0));
  device.close();
});

test("long writes are cut at multiples of the piece, and nothing is lost or moved", () => {
  const bytesMax = limits.imageWriteBytesMax;
  const lengths = fc.array(fc.integer({ min: 1, max: 3 * bytesMax }), { maxLength: 6 });
  fc.assert(
    fc.property(fc.nat(4 * bytesMax), lengths, (offset, chunkLengths) => {
      const chunks = chunkLengths.map((length) => randomBytes(length));
      const pieces = piecesOf(offset, chunks);
      assert.deepEqual(Buffer.concat(pieces.flat()), Buffer.concat(chunks));
      let at = offset;
      for (const piece of pieces) {
        const end = at + totalBytes(piece);
        assert.ok(end > at && Math.floor(at / bytesMax) === Math.floor((end - 1) / bytesMax));
        at = end;
      }
    }),
    { numRuns: 50 },
  );
});

test("extents that are cut too finely end as stored", (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const length = limits.extentsPerAnswerMax * 4096 * 2;
  // A file in which every other page is a hole, for ever.
  const sys: Sys = {
    fallocate: () => -95,
    blocksEnd: () => -95,
    readCached: () => -11,
    adviseUnneeded: () => 0,
    adviseRandom: () => 0,
    flock: () => 0,
    lseek: (_fd, offset, whence) => {
      const isHole = Math.floor(offset / 4096) % 2 === 0;
      return isHole === (whence === 4) ? offset : (Math.floor(offset / 4096) + 1) * 4096;
    },
  };
  const device = openAt(join(temp, "image"), sys, length);
  device.extents(0, length, (extents) => {
    assert.ok(extents.length <= limits.extentsPerAnswerMax);
    const last = extents.at(-1);
    assert.equal(last?.hole, false);
    assert.equal((last?.offset ?? 0) + (last?.length ?? 0), length);
  });
  device.close();
});

test("unsynced bytes start a sync by themselves", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const chunk = new Uint8Array(1024 * 1024);
  const device = openAt(join(temp, "image"), nativeCalls(), chunk.length);
  for (let bytes = 0; bytes <= limits.unsyncedBytesFirst; bytes += chunk.length) {
    write(device, 0, chunk);
  }
  assert.ok(device.unsyncedBytes() > limits.unsyncedBytesFirst);
  await settle(() => device.unsyncedBytes() === 0);
  device.close();
});

test("a closed device fails what still comes", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const device = openAt(join(temp, "image"), nativeCalls());
  device.close();
  device.close();
  const codes: (string | undefined)[] = [];
  device.write(0, [new Uint8Array(512)], 0, (_, failure) => codes.push(failure?.code));
  device.sync((failure) => codes.push(failure?.code));
  await settle(() => codes.length === 2);
  assert.deepEqual(codes, ["EBADF", "EBADF"]);
});

test("row 41: a full disk fails that write alone; reads, other writes and syncs go on", () => {
  // A tiny file system in a mount namespace of the child's own, which the kernel unmounts when the child ends.
  const script = 'mount -t tmpfs -o size=256k none "$1" && exec "$2" "$3" "$1"';
  const temp = makeTempFolder();
  try {
    const program = join(import.meta.dirname, "../../test/support/full-disk.ts");
    const inNamespace = ["--map-root-user", "--mount", "sh", "-c", script, "sh"];
    const child = spawnSync("unshare", [...inNamespace, temp, process.execPath, program], {
      encoding: "utf8",
    });
    assert.equal(child.stderr, "");
    assert.deepEqual(JSON.parse(child.stdout), {
      firstWrite: "ok",
      writeTooMuch: "ENOSPC",
      zeroTooMuch: "ENOSPC",
      rewrite: "ok",
      punch: "ok",
      writeAfterPunch: "ok",
      sync: "ok",
      read: "ok",
    });
  } finally {
    removeTempFolder(temp);
  }
});

function fileWorld(sys: Sys | undefined): BlockDeviceWorld {
  const temp = makeTempFolder();
  return {
    open: () => openAt(join(temp, "image"), sys),
    // /dev/full takes no sync (EINVAL), and reads as zeros.
    openBroken: () => openAt("/dev/full", sys),
    settle,
    end: () => removeTempFolder(temp),
  };
}

/** Every write of whole pages counts as a long one; `runMin` of them go before the first that goes past the page cache. */
function directWorld(runMin: number): BlockDeviceWorld {
  const world = fileWorld(nativeCalls());
  const temp = makeTempFolder();
  const path = join(temp, "image");
  return {
    ...world,
    open() {
      const fd = openFile(path, DEVICE_BYTES);
      const directFd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_DIRECT);
      const memory = new DirectMemory();
      const direct = { fd: directFd, memory, bytesMin: limits.directWriteUnitBytes, runMin };
      return deviceOf(fd, path, { direct });
    },
    end() {
      world.end();
      removeTempFolder(temp);
    },
  };
}

function openAt(path: string, sys: Sys | undefined, bytes = DEVICE_BYTES): BlockDevice {
  return deviceOf(openFile(path, bytes), path, { sys, bytes });
}

function openFile(path: string, bytes: number): number {
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT);
  if (fs.fstatSync(fd).isFile()) fs.ftruncateSync(fd, bytes);
  return fd;
}

function deviceOf(fd: number, path: string, more: Partial<FileDeviceOptions>): BlockDevice {
  const budget = createUnsyncedBudget();
  const onClosed = () => {};
  const sys = nativeCalls();
  return createFileDevice({ fd, path, bytes: DEVICE_BYTES, budget, sys, onClosed, ...more });
}

function write(device: BlockDevice, offset: number, bytes: Uint8Array): void {
  device.write(offset, [bytes], undefined, (_, failure) => assert.equal(failure, undefined));
}

function zero(device: BlockDevice, offset: number, length: number, mayPunch: boolean): void {
  device.zero(offset, length, mayPunch, undefined, (_, failure) =>
    assert.equal(failure, undefined),
  );
}
