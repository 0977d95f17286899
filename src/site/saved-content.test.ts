import assert from "node:assert/strict";
import { test } from "node:test";
import type { Result } from "#base/errors.ts";
import { KiB, limits } from "#base/limits.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { Log } from "#store/log.ts";
import { encodeStep, makePreserveLog, saveStep } from "#store/preserve-log.ts";
import { createLogWorld } from "../../test/support/log-world.ts";
import { writeBackAll } from "./saved-content.ts";

const unitBytes = limits.preserveUnitBytes;

/** What is written goes into `content`; nothing else of a device is asked for here. */
function deviceOver(content: Uint8Array): BlockDevice {
  const no = (): never => assert.fail("nobody asks for that");
  return {
    bytes: content.length,
    write(offset, chunks, context, done) {
      let at = offset;
      for (const chunk of chunks) {
        content.set(chunk, at);
        at += chunk.length;
      }
      done(context, undefined);
    },
    // oxlint-disable-next-line max-params -- The port says so.
    zero(offset, length, _mayPunch, context, done) {
      content.fill(0, offset, offset + length);
      done(context, undefined);
    },
    read: no,
    sync: no,
    failure: no,
    unsyncedBytes: no,
    isPressed: no,
    extents: no,
    whyNotGrow: no,
    grow: no,
    close: no,
  };
}

test("trap 13: going back in a volume that has grown since leaves nothing new in what was its last unit", () => {
  const oldBytes = 3 * unitBytes + 512;
  const world = createLogWorld();
  const options = {
    folder: world.folder(),
    kind: "preserve" as const,
    id: 7,
    bytesMax: 64 * KiB,
    volumes: [{ bytes: oldBytes }],
  };
  const made = world.run<Result<Log>>((done) => makePreserveLog(options, done));
  const log = made.ok ? made.value : assert.fail(made.error);
  const was = new Uint8Array(oldBytes).fill(1);
  const last = { volume: 0, offset: 2 * unitBytes, length: unitBytes + 512 };
  const step = encodeStep([{ ...last, bytes: was.subarray(last.offset) }]);
  assert.equal(
    world.run((done) => saveStep(log, step, done)),
    undefined,
  );
  // It has grown, and a resync has overwritten what was saved, and the rest of the unit with it.
  const content = new Uint8Array(8 * unitBytes);
  content.fill(1, 0, last.offset);
  content.fill(9, last.offset, 4 * unitBytes);
  const failure = world.run<string | undefined>((done) =>
    writeBackAll({ images: [deviceOver(content)] }, log, { done, logLost: done }),
  );
  assert.equal(failure, undefined);
  assert.deepEqual(content.subarray(0, oldBytes), was);
  assert.ok(content.subarray(oldBytes).every((byte) => byte === 0));
});
