import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import type { EventLog, StampedEvent } from "./event-log.ts";
import { createEventLog } from "./event-log.ts";

let folder: string;
const trouble: string[] = [];
beforeEach(() => {
  folder = makeTempFolder();
  trouble.length = 0;
});
afterEach(() => removeTempFolder(folder));

function open(fileBytesMax?: number): EventLog {
  return createEventLog({
    folder,
    site: "east",
    wallMs: () => Date.UTC(2026, 0, 1),
    onTrouble: (message) => trouble.push(message),
    ...(fileBytesMax === undefined ? {} : { fileBytesMax }),
  });
}

function emit(log: EventLog, group: string, why: string): void {
  log.emit({ kind: "copy-state", group, copy: "west", from: "resync", to: "synchronized", why });
}

test("events are stamped, told to the follower, and found by group and number", () => {
  const log = open();
  const told: StampedEvent[] = [];
  log.follow((event) => told.push(event));
  emit(log, "bank", "one");
  emit(log, "shop", "two");
  emit(log, "bank", "three");
  assert.deepEqual(log.query({}), told);
  assert.deepEqual(told[0], {
    seq: 1,
    time: "2026-01-01T00:00:00.000Z",
    site: "east",
    kind: "copy-state",
    group: "bank",
    copy: "west",
    from: "resync",
    to: "synchronized",
    why: "one",
  });
  assert.deepEqual(
    log.query({ group: "bank", since: 1 }).map(({ why }) => why),
    ["three"],
  );
  log.close();
});

test("events and their numbers outlive the process, and a torn last line costs only itself", () => {
  const first = open();
  emit(first, "bank", "one");
  emit(first, "bank", "two");
  first.close();
  fs.appendFileSync(join(folder, "events.jsonl"), '{"seq":3,"time":"2026');
  const second = open();
  emit(second, "bank", "after");
  second.close();
  const third = open();
  assert.deepEqual(
    third.query({}).map(({ seq, why }) => [seq, why]),
    [
      [1, "one"],
      [2, "two"],
      [3, "after"],
    ],
  );
  third.close();
});

test("the file is rotated once, so that both stay within twice the limit", () => {
  const bytesMax = 2_000;
  const log = open(bytesMax);
  for (let count = 0; count < 100; count += 1) emit(log, "bank", `event ${count}`);
  log.close();
  for (const name of ["events.jsonl", "events.jsonl.1"]) {
    assert.ok(fs.statSync(join(folder, name)).size <= bytesMax);
  }
  assert.deepEqual(fs.readdirSync(folder).toSorted(), ["events.jsonl", "events.jsonl.1"]);
  const again = open(bytesMax);
  assert.equal(again.query({}).at(-1)?.seq, 100);
  again.close();
});

test("a file that cannot be written is told of once, and events go on in memory", () => {
  const log = open(500);
  // A folder in the way of the rotation stands for a disk that refuses.
  fs.mkdirSync(join(folder, "events.jsonl.1/in-the-way"), { recursive: true });
  for (let count = 0; count < 20; count += 1) emit(log, "bank", `event ${count}`);
  assert.equal(log.query({}).length, 20);
  assert.equal(trouble.length, 1);
  assert.match(trouble[0] ?? "", /no longer written/);
  log.close();
});
