import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { KiB, limits } from "#base/limits.ts";
import { utf8 } from "#base/bytes.ts";
import { frameType } from "#wire/peer/messages.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import type { TestSite } from "../support/cluster.ts";
import type { SeenFrame, Verdict } from "../support/frame-proxy.ts";
import { assertCaughtUp, exports, readerOf, startBank } from "../support/sets-bank.ts";
import { until } from "../support/until.ts";

// Sets that travel packed: kills, damage, and a copy of before that cannot unpack.

const blockBytes = 4 * KiB;
const packed = {
  copies: { west: "probe: 100ms, compress: on, seal: { every: 30ms, bytes: 64KiB }" },
};

const startWriter = ({ nbd }: TestSite) =>
  startChainWriter({ socket: nbd, exports, blocks: 200, flushEvery: 20 });

/** What went to the copy in batches: their bytes on the wire, and those of the writes in them. */
class Carried {
  wireBytes = 0;
  writtenBytes = 0;
  packed = 0;

  note(frame: SeenFrame): void {
    if (frame.header.type !== frameType.batch) return;
    this.wireBytes += frame.body.length;
    for (const { kind, length } of frame.entries) if (kind === "write") this.writtenBytes += length;
    if (frame.header.length > 0) this.packed += 1;
  }
}

test("S2, S22, row 12: sets that travel packed take a part of their bytes on the wire, and after kills in their midst the images are equal", async (t) => {
  const bank = await startBank(t, packed);
  const { east, west, toWest, cluster } = bank;
  const carried = new Carried();
  toWest.forth = (frame): Verdict => {
    carried.note(frame);
    return "pass";
  };
  const writer = await startWriter(east);
  let effects = 0;
  for (let round = 0; round < 3; round += 1) {
    const before = carried.packed;
    await writer.more(300);
    await until("packed batches are sent", () => carried.packed > before);
    await west.kill();
    effects += 1;
    await writer.more(100);
    await west.start();
    await cluster.copyIs("east", "west", "streaming");
  }
  await writer.more(100);
  await writer.stop();
  await assertCaughtUp(bank);
  assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "the journal had it all");
  const { wireBytes, writtenBytes } = carried;
  assert.ok(writtenBytes >= writer.acked() * blockBytes, "all of it went this way");
  assert.ok(wireBytes < writtenBytes / 4, `${wireBytes} bytes for ${writtenBytes}`);
  count("row 12", { faultsInjected: 3, effectsSeen: effects });
});

test("auto: a copy that keeps up is sent its sets as they are, and packed what it is behind by", async (t) => {
  const bank = await startBank(t, {
    copies: { west: "probe: 100ms, compress: auto, seal: { every: 30ms, bytes: 64KiB }" },
  });
  const { east, west, toWest, cluster } = bank;
  const carried = new Carried();
  toWest.forth = (frame): Verdict => {
    carried.note(frame);
    return "pass";
  };
  const writer = await startWriter(east);
  await writer.more(100);
  assert.equal(carried.packed, 0, "it keeps up");
  await west.kill();
  await writer.more((2 * limits.packBehindBytesMin) / blockBytes);
  const { wireBytes, writtenBytes } = carried;
  await west.start();
  await cluster.copyIs("east", "west", "streaming");
  await writer.stop();
  await assertCaughtUp(bank);
  assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
  const [onWire, written] = [carried.wireBytes - wireBytes, carried.writtenBytes - writtenBytes];
  assert.ok(written >= 2 * limits.packBehindBytesMin, "it was behind by all that");
  // The last of it goes as it is: by then the copy is not behind by much.
  assert.ok(onWire < written * 0.75, `${onWire} bytes for ${written}`);
  assert.ok(carried.packed > 0);
});

test("I34, row 32: a packed batch that is changed on its way, or says another length, is not applied, and comes again", async (t) => {
  const bank = await startBank(t, packed);
  const { east, west, toWest, cluster } = bank;
  const writer = await startWriter(east);
  const harms: ((frame: SeenFrame) => SeenFrame)[] = [
    (frame) => changedAt(frame, frame.header.index),
    (frame) => changedAt(frame, frame.body.length - 3),
    (frame) => withLength(frame, frame.header.length - 512),
    (frame) => withLength(frame, 32 * 1024 * KiB),
  ];
  let harmed = 0;
  for (const harm of harms) {
    const before = (await east.events()).length;
    let isDone = false;
    toWest.forth = (frame): Verdict => {
      if (isDone || frame.header.type !== frameType.batch || frame.header.length === 0)
        return "pass";
      isDone = true;
      harmed += 1;
      return [harm(frame)];
    };
    await writer.more(100);
    await untilLost(east, before);
    await cluster.copyIs("east", "west", "streaming");
  }
  await writer.stop();
  await assertCaughtUp(bank);
  assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
  count("row 32", { faultsInjected: harms.length, effectsSeen: harmed });
});

test("row 33: a copy of before, which says nothing of unpacking, is sent everything as it is", async (t) => {
  const bank = await startBank(t, packed);
  const { east, west, toWest, cluster } = bank;
  const carried = new Carried();
  let silenced = 0;
  toWest.back = (frame): Verdict => {
    if (frame.header.type !== frameType.opened) return "pass";
    const said = JSON.parse(Buffer.from(frame.body).toString()) as Record<string, unknown>;
    // Connections beside the first are opened by a document of their own.
    if (said["unpacks"] === undefined) return "pass";
    delete said["unpacks"];
    silenced += 1;
    const body = utf8(JSON.stringify(said));
    return [{ ...frame, body, header: { ...frame.header, bodyBytes: body.length } }];
  };
  toWest.cut();
  await east.until("a session with the copy of before", ({ copies: [copy] }) => {
    return silenced > 0 && copy?.state === "streaming";
  });
  toWest.forth = (frame): Verdict => {
    carried.note(frame);
    return "pass";
  };
  const writer = await startWriter(east);
  await writer.more(200);
  await writer.stop();
  await assertCaughtUp(bank);
  assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
  assert.equal(carried.packed, 0);
  assert.ok(carried.wireBytes > carried.writtenBytes && carried.writtenBytes >= 200 * blockBytes);
  await cluster.copyIs("east", "west", "streaming");
});

/** Waits until the site has told that it lost the copy, behind the events that it had told of before. */
async function untilLost(site: TestSite, before: number): Promise<void> {
  await until("the copy has ended the session", async () =>
    (await site.events()).slice(before).some(({ to }) => to === "buffering"),
  );
}

test("reload: a copy is sent packed batches from then on, from the journal and without a compare", async (t) => {
  const bank = await startBank(t, {
    copies: { west: "probe: 100ms, compress: off, seal: { every: 30ms, bytes: 64KiB }" },
  });
  const { east, toWest, cluster } = bank;
  const carried = new Carried();
  toWest.forth = (frame): Verdict => {
    carried.note(frame);
    return "pass";
  };
  const writer = await startWriter(east);
  await writer.more(100);
  assert.equal(carried.packed, 0);
  for (const site of ["east", "west"]) {
    const path = join(cluster.folder, `${site}.yaml`);
    const text = fs.readFileSync(path, "utf8");
    fs.writeFileSync(path, text.replace("compress: off", "compress: on"));
  }
  const { code, stdout, stderr } = await cluster.cli("reload", "bank");
  assert.equal(code, 0, stderr);
  assert.match(stdout, /west: compress off -> on \(it is fed anew\)/);
  await writer.more(100);
  await writer.stop();
  await assertCaughtUp(bank);
  assert.ok(carried.packed > 0);
  assert.equal((await east.copy("west")).resyncComparedBytes, 0);
});

function changedAt(frame: SeenFrame, at: number): SeenFrame {
  const body = frame.body.slice();
  body[at] = (body[at] ?? 0) ^ 0x40;
  return { ...frame, body };
}

function withLength(frame: SeenFrame, length: number): SeenFrame {
  return { ...frame, header: { ...frame.header, length } };
}
