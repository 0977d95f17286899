import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { MiB } from "#base/limits.ts";
import type { IoFailure } from "#base/errors.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import {
  blockDeviceSuite,
  type BlockDeviceWorld,
  DEVICE_BYTES,
} from "../../test/acceptance/block-device-suite.ts";
import { settle } from "../../test/support/settle.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { createFileDevice } from "./file-device.ts";
import { openImage } from "./image.ts";
import { nativeCalls } from "./sys.ts";
import { createUnsyncedBudget } from "./unsynced-bound.ts";

const BYTES = 64 * MiB;

blockDeviceSuite("block device", loopWorld, {
  skip: process.getuid?.() === 0 || process.env["CI"] === "true" ? false : "only root may attach",
});

/** A real block device of the kernel's over a file. */
function loopWorld(): BlockDeviceWorld {
  const temp = makeTempFolder();
  const path = join(temp, "backing");
  fs.writeFileSync(path, "");
  fs.truncateSync(path, DEVICE_BYTES);
  const losetup = ["--find", "--show", path];
  const device = execFileSync("losetup", losetup, { encoding: "utf8" }).trim();
  return {
    open: () => opened(device, DEVICE_BYTES),
    openBroken: () => withoutSync(DEVICE_BYTES),
    settle,
    end() {
      execFileSync("losetup", ["--detach", device]);
      removeTempFolder(temp);
    },
  };
}

/** What cannot be synced at all, held for a block device. */
function withoutSync(bytes: number): BlockDevice {
  return createFileDevice({
    fd: fs.openSync("/dev/full", fs.constants.O_RDWR),
    path: "/dev/full",
    bytes,
    capacityBytes: () => bytes,
    budget: createUnsyncedBudget(),
    sys: nativeCalls(),
    onClosed() {},
  });
}

test("a missing image is made sparse, with its size, for its owner only", (t) => {
  const path = join(tempFor(t), "data.img");
  opened(path).close();
  const stat = fs.statSync(path);
  assert.equal(stat.size, BYTES);
  assert.equal(stat.mode & 0o777, 0o600);
  assert.ok(stat.blocks * 512 < MiB);
});

test("an image that a crash left empty gets its size", (t) => {
  const path = join(tempFor(t), "data.img");
  fs.writeFileSync(path, "");
  opened(path).close();
  assert.equal(fs.statSync(path).size, BYTES);
});

test("an image that held a volume and is gone is refused, not made anew with zeros, whether it is missing or empty", (t) => {
  const folder = tempFor(t);
  const path = join(folder, "mnt", "data.img");
  const gone = openImage(path, { bytes: BYTES, isOnRecord: true });
  assert.ok("code" in gone);
  assert.equal(gone.code, "ENOENT");
  assert.match(gone.message, /data\.img is gone.*mount what it lies on/);
  assert.deepEqual(fs.readdirSync(folder), []);
  const empty = join(folder, "data.img");
  fs.writeFileSync(empty, "");
  const refused = openImage(empty, { bytes: BYTES, isOnRecord: true });
  assert.ok("code" in refused);
  assert.match(refused.message, /has 0 bytes/);
  assert.equal(fs.statSync(empty).size, 0);
});

test("an image with another size is refused, named and left alone", (t) => {
  const path = join(tempFor(t), "data.img");
  fs.writeFileSync(path, "somebody's data");
  const refused = openImage(path, { bytes: BYTES });
  assert.ok("code" in refused);
  assert.equal(refused.code, "EINVAL");
  assert.match(refused.message, /data\.img has 15 bytes, and the cluster file says 67108864/);
  assert.equal(fs.readFileSync(path, "utf8"), "somebody's data");
});

test("what a growth left that was cut short is opened at its size, where that may be, and reads as zeros once it grows", async (t) => {
  const path = join(tempFor(t), "data.img");
  opened(path).close();
  fs.truncateSync(path, BYTES + MiB);
  assert.ok("code" in openImage(path, { bytes: BYTES }));
  const image = openImage(path, { bytes: BYTES, isOnRecord: true });
  if ("code" in image) assert.fail(image.message);
  assert.equal(image.bytes, BYTES);
  image.write(BYTES - 512, [Buffer.alloc(512, 1)], undefined, (_, failure) =>
    assert.equal(failure, undefined),
  );
  const wanted = BYTES + 3 * MiB + 512;
  assert.equal(await grown(image, wanted), undefined);
  assert.equal(image.bytes, wanted);
  assert.equal(await grown(image, BYTES), undefined);
  assert.equal(image.bytes, wanted, "it never shrinks");
  assert.ok(fs.statSync(path).blocks * 512 < 2 * MiB, "and is sparse");
  const bytes = fs.readFileSync(path);
  assert.equal(bytes.length, wanted);
  assert.equal(bytes[BYTES - 1], 1);
  assert.ok(bytes.subarray(BYTES).every((byte) => byte === 0));
  image.close();
  opened(path, wanted).close();
});

test("an image with data behind what is on record is of something else, and is refused as it is", (t) => {
  const path = join(tempFor(t), "data.img");
  opened(path).close();
  fs.appendFileSync(path, Buffer.alloc(MiB, 7));
  const refused = openImage(path, { bytes: BYTES, isOnRecord: true });
  assert.ok("code" in refused);
  assert.equal(refused.code, "EINVAL");
  assert.match(refused.message, /has data behind the 67108864 bytes that are on record/);
  assert.equal(fs.statSync(path).size, BYTES + MiB);
  opened(path, BYTES + MiB).close();
});

test("a device grows no further than it is, and what it held there is zeroed", async (t) => {
  const path = join(tempFor(t), "device");
  const capacity = BYTES + 40 * MiB;
  fs.writeFileSync(path, Buffer.alloc(capacity, 7));
  const image = createFileDevice({
    fd: fs.openSync(path, fs.constants.O_RDWR),
    path,
    bytes: BYTES,
    capacityBytes: () => capacity,
    budget: createUnsyncedBudget(),
    sys: nativeCalls(),
    onClosed() {},
  });
  const refused = await grown(image, capacity + 512);
  assert.match(refused?.message ?? "", /has 109051904 bytes: it must be made larger first/);
  assert.equal(image.bytes, BYTES);
  assert.equal(await grown(image, capacity), undefined);
  image.close();
  const bytes = fs.readFileSync(path);
  assert.equal(bytes.length, capacity);
  assert.ok(bytes.subarray(0, BYTES).every((byte) => byte === 7));
  assert.ok(bytes.subarray(BYTES).every((byte) => byte === 0));
});

test("growths of a file come one after the other: the smaller one does not cut off the larger one", async (t) => {
  const path = join(tempFor(t), "data.img");
  const image = opened(path);
  const sizes = [BYTES + 36 * MiB, BYTES + 2 * MiB];
  const failures = await Promise.all(sizes.map((bytes) => grown(image, bytes)));
  assert.deepEqual(failures, [undefined, undefined]);
  assert.equal(image.bytes, BYTES + 36 * MiB);
  assert.equal(fs.statSync(path).size, BYTES + 36 * MiB);
  image.close();
});

test("growths of a device come one after the other: what one has answered, and hosts write to, is not zeroed again", async (t) => {
  const path = join(tempFor(t), "device");
  const capacity = BYTES + 40 * MiB;
  fs.writeFileSync(path, "");
  fs.truncateSync(path, capacity);
  let zeroedBytes = 0;
  const nothing = () => 0;
  const image = createFileDevice({
    fd: fs.openSync(path, fs.constants.O_RDWR),
    path,
    bytes: BYTES,
    capacityBytes: () => capacity,
    budget: createUnsyncedBudget(),
    sys: {
      fallocate(...[, , , length]) {
        zeroedBytes += length;
        return 0;
      },
      blocksEnd: nothing,
      lseek: nothing,
      readCached: nothing,
      adviseRandom: nothing,
      adviseUnneeded: nothing,
      flock: nothing,
    },
    onClosed() {},
  });
  const failures = await Promise.all([grown(image, capacity), grown(image, capacity)]);
  assert.deepEqual(failures, [undefined, undefined]);
  assert.equal(zeroedBytes, 40 * MiB);
  image.close();
});

function grown(image: BlockDevice, bytes: number): Promise<IoFailure | undefined> {
  return new Promise((resolve) => image.grow(bytes, resolve));
}

test("what is neither file nor block device is refused", (t) => {
  const temp = tempFor(t);
  const folder = openImage(temp, { bytes: BYTES });
  assert.ok("code" in folder);
  const character = openImage("/dev/null", { bytes: BYTES });
  assert.ok("code" in character);
  assert.match(character.message, /neither a regular file nor a block device/);
});

test("a missing device is not made as a file in /dev", () => {
  const path = `/dev/antipode-test-${process.pid}`;
  const refused = openImage(path, { bytes: BYTES });
  assert.ok("code" in refused);
  assert.equal(refused.code, "ENOENT");
  assert.equal(fs.existsSync(path), false);
});

test("an image is opened once at a time, also within a process", (t) => {
  const path = join(tempFor(t), "data.img");
  const first = opened(path);
  const second = openImage(path, { bytes: BYTES });
  assert.ok("code" in second);
  assert.equal(second.code, "EBUSY");
  assert.match(second.message, /data\.img, which somebody else uses/);
  first.close();
  opened(path).close();
});

for (const holder of ["", "1"]) {
  for (const other of ["", "1"]) {
    const names = ["with", "without"];
    const says = `${names[Number(holder)]} and ${names[Number(other)]} native calls`;
    test(`two processes cannot open one image, ${says}`, async (t) => {
      const path = join(tempFor(t), "data.img");
      const first = openInChild(t, path, holder);
      await settle(() => first.said() !== "");
      assert.equal(first.said(), "open");
      const second = openInChild(t, path, other);
      await settle(() => second.said() !== "");
      assert.equal(second.said(), "EBUSY");
      first.kill();
      await settle(() => first.isOver());
      opened(path).close();
    });
  }
}

type Child = { said(): string; kill(): void; isOver(): boolean };

/** A process that opens the image, says how that went, and holds it until it is killed. */
function openInChild(t: TestContext, path: string, noNative: string): Child {
  const script = `
    import { openImage } from ${JSON.stringify(join(import.meta.dirname, "image.ts"))};
    const image = openImage(process.argv[1], { bytes: ${BYTES} });
    process.stdout.write("code" in image ? image.code : "open");
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, path], {
    env: { ...process.env, ANTIPODE_NO_NATIVE: noNative },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  let isOver = false;
  child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  child.on("exit", () => (isOver = true));
  t.after(() => child.kill("SIGKILL"));
  return { said: () => said, kill: () => child.kill("SIGKILL"), isOver: () => isOver };
}

function opened(path: string, bytes = BYTES): BlockDevice {
  const image = openImage(path, { bytes });
  if ("code" in image) assert.fail(image.message);
  return image;
}

function tempFor(t: TestContext): string {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  return temp;
}
