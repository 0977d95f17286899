import { spawn } from "node:child_process";
import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { IoFailure } from "#base/errors.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { DeviceLink } from "#ports/device-link.ts";
import { createLinkedImage } from "#site/linked-image.ts";
import {
  blockDeviceSuite,
  type BlockDeviceWorld,
  DEVICE_BYTES,
} from "../../test/acceptance/block-device-suite.ts";
import { missing } from "../../test/support/needs.ts";
import { startNbdkit, type NbdkitOptions } from "../../test/support/nbdkit.ts";
import { onEnd } from "../../test/support/on-end.ts";
import { until } from "../../test/support/until.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { createClock } from "./clock.ts";

import { createNbdLink } from "./nbd-link.ts";
import { createTransport } from "./transport.ts";

const skip = missing("nbdkit");

function openAt(
  socket: string,
  options: { isBroken?: true; trustDevice?: true } = {},
): BlockDevice {
  const clock = createClock();
  return createLinkedImage({
    clock,
    connect(events) {
      const link = createNbdLink(
        {
          address: `nbd+unix:///disk?socket=${socket}`,
          dial: `unix:${socket}`,
          name: "disk",
          bytes: DEVICE_BYTES,
          trustDevice: options.trustDevice === true,
          transport: createTransport(),
          clock,
        },
        events,
      );
      return options.isBroken === true ? withoutFlush(link) : link;
    },
  });
}

/** A device whose every flush fails. */
function withoutFlush(link: DeviceLink): DeviceLink {
  return {
    address: link.address,
    bytes: link.bytes,
    isUp: () => link.isUp(),
    read: (offset, length, context, done) => link.read(offset, length, context, done),
    write: (offset, chunks, context, done) => link.write(offset, chunks, context, done),
    // oxlint-disable-next-line max-params -- the port's shape
    zero: (offset, length, mayPunch, context, done) =>
      link.zero(offset, length, mayPunch, context, done),
    flush: (done) => setImmediate(() => done({ code: "EIO", message: "made to fail" })),
    drop: (why) => link.drop(why),
    close: () => link.close(),
  };
}

function nbdWorld(filters: readonly string[]): BlockDeviceWorld {
  const temp = makeTempFolder();
  const socket = join(temp, "nbd.sock");
  const path = join(temp, "image");
  fs.writeFileSync(path, "");
  fs.truncateSync(path, DEVICE_BYTES);
  const child = spawn("nbdkit", ["-f", "-U", socket, ...filters, "file", `file=${path}`], {
    stdio: "ignore",
  });
  return {
    open: () => openAt(socket),
    openBroken: () => openAt(socket, { isBroken: true }),
    settle: (condition) => until("the device has answered", condition),
    end() {
      child.kill("SIGKILL");
      removeTempFolder(temp);
    },
  };
}

blockDeviceSuite("NBD device", () => nbdWorld([]), { skip });
blockDeviceSuite("NBD device that cannot zero", () => nbdWorld(["--filter=nozero"]), { skip });

// ------------------------------------------------------------------------------- what it is, and is not

type Given = Partial<Pick<NbdkitOptions, "bytes" | "filters" | "plugin">>;

/** It takes writes, and knows no flush. */
const forgetful = [
  "eval",
  `get_size=echo ${DEVICE_BYTES}`,
  "pread=head -c $3 /dev/zero",
  "pwrite=cat >/dev/null",
];

async function startedIn(t: TestContext, given: Given = {}) {
  const temp = makeTempFolder();
  onEnd(t, () => removeTempFolder(temp));
  const socket = join(temp, "nbd.sock");
  const path = join(temp, "image");
  const server = await startNbdkit({ socket, path, bytes: DEVICE_BYTES, ...given });
  onEnd(t, () => server.kill());
  return { server, socket, path };
}

async function outcome(ask: (done: (failure: IoFailure | undefined) => void) => void) {
  let answer: { readonly failure: IoFailure | undefined } | undefined;
  ask((failure) => {
    answer = { failure };
  });
  await until("it is answered", () => answer !== undefined);
  return answer?.failure;
}

const block = new Uint8Array(4096).fill(7);

function writes(device: BlockDevice): Promise<IoFailure | undefined> {
  return outcome((done) => device.write(0, [block], undefined, (_, failure) => done(failure)));
}

const misfits: readonly { readonly given: Given; readonly why: RegExp }[] = [
  { given: { bytes: 2 * DEVICE_BYTES }, why: /has 524288 bytes, and the cluster file says 262144/ },
  { given: { filters: ["-r"] }, why: /read-only/ },
  { given: { plugin: forgetful }, why: /cannot flush.*trustDevice: true/ },
];

for (const { given, why } of misfits) {
  test(`a device that does not fit is refused in words: ${why.source}`, { skip }, async (t) => {
    const { socket } = await startedIn(t, given);
    const device = openAt(socket);
    onEnd(t, () => device.close());
    const failure = await writes(device);
    assert.equal(failure?.code, "EIO");
    assert.match(failure?.message ?? "", why);
  });
}

test("a device that cannot flush is taken by who trusts it", { skip }, async (t) => {
  const { socket } = await startedIn(t, { plugin: forgetful });
  const device = openAt(socket, { trustDevice: true });
  onEnd(t, () => device.close());
  assert.equal(await writes(device), undefined);
  assert.equal(await outcome((done) => device.sync(done)), undefined);
});

test(
  "row 38: a device that is lost is used no more, by whoever has no journal in front of it",
  { skip },
  async (t) => {
    const { server, socket } = await startedIn(t);
    const device = openAt(socket);
    onEnd(t, () => device.close());
    assert.equal(await writes(device), undefined);
    await server.kill();
    await until("the loss is noticed", async () => (await writes(device)) !== undefined);
    await server.start();
    const failure = await writes(device);
    assert.equal(failure?.code, "EIO", "what was not flushed may be gone");
    assert.equal((await outcome((done) => device.sync(done)))?.code, "EIO");
  },
);
