import assert from "node:assert/strict";
import { test } from "node:test";
import { joined } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import { KiB, limits } from "#base/limits.ts";
import { noPosition, positionOf } from "#core/log-position.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { createFrameDecoder, pushChunk } from "#wire/peer/decode.ts";
import { openMemoryJournal } from "../../test/support/memory-journal.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { until } from "../../test/support/until.ts";
import { wireTo } from "../../test/support/wire-to.ts";
import { appendRecord } from "./journal-run.ts";
import type { AppendedBatch, JournalRun } from "./journal-run.ts";
import { firstRecord, offerRecord, startLogSender } from "./log-sender.ts";
import type { LogSender } from "./log-sender.ts";

// What a bunker is fed: the journal's records, in their order, each as soon as it is there.

test("B4: a record goes out in the turn in which it is appended here, and waits for no sync of ours", async () => {
  const { journal, folder } = await openMemoryJournal();
  const { sender, sent } = feeding(journal);
  folder.ops.length = 0;
  for (let lsn = 1; lsn <= 3; lsn += 1) {
    offerRecord(sender, append(journal, lsn));
    assert.deepEqual(sent.at(-1), lsn, "sent before anything else could happen");
  }
  assert.ok(
    folder.ops.every((op) => op.startsWith("write ")),
    folder.ops.join(),
  );
});

test("B4, I26: who is behind gets what the journal has first, and nothing twice or out of its order", async () => {
  const { journal } = await openMemoryJournal();
  for (let lsn = 1; lsn <= 40; lsn += 1) append(journal, lsn);
  const link = { queuedBytes: limits.laneQueueBytesMax };
  const { sender, sent } = feeding(journal, link);
  // The connection has enough to send: what comes meanwhile is read back, too.
  for (let lsn = 41; lsn <= 60; lsn += 1) offerRecord(sender, append(journal, lsn));
  assert.deepEqual(sent, []);
  link.queuedBytes = 0;
  sender.wire.peer.onDrain();
  await until("all is sent", () => sent.length >= 60);
  offerRecord(sender, append(journal, 61));
  assert.deepEqual(
    sent,
    Array.from({ length: 61 }, (_, i) => i + 1),
  );
});

function append(journal: JournalRun, lsn: number): AppendedBatch {
  const payload = new Uint8Array(4 * KiB).fill(lsn);
  const entries = [sampleEntry({ set: 1, index: lsn, lsn, payloadCrc: crc32c(payload) })];
  const record = { entries, table: encodeTable(entries), payload: [payload] };
  const follows = journal.end;
  const number = appendRecord(journal, record);
  if (typeof number !== "number") assert.fail("the journal has room");
  return { ...record, follows, number };
}

/** A sender, and the LSNs of what its connection was given; each record must name the entry that it follows. */
function feeding(
  journal: JournalRun,
  link = { queuedBytes: 0 },
): { sender: LogSender; sent: number[] } {
  const sent: number[] = [];
  let last = noPosition;
  const decoder = createFrameDecoder(
    ({ header, body }) => {
      const { lsn, set, offset: index, length: incarnation } = header;
      assert.deepEqual({ lsn, set, index, incarnation }, last);
      const entries = decodeTable(joined(body).subarray(0, header.index), 4 * KiB);
      const [entry] = entries.ok ? entries.value : [];
      if (entry === undefined) assert.fail("a record has an entry");
      last = positionOf(entry);
      sent.push(entry.lsn);
    },
    (rule) => assert.fail(rule),
  );
  const nothing = (): void => undefined;
  const wire = wireTo("vault", (bytes) => pushChunk(decoder, bytes), link);
  const sender = startLogSender(journal, wire, firstRecord(journal), {
    onUnreadable: assert.fail,
    onCaughtUp: nothing,
    onSent: nothing,
  });
  return { sender, sent };
}
