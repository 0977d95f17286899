import assert from "node:assert/strict";
import { test } from "node:test";
import type { TraceLine } from "#ports/events.ts";
import { emptyHeader, frameType } from "#wire/peer/messages.ts";
import type { FrameHeader, FrameType } from "#wire/peer/messages.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import type { GroupContext } from "./group-context.ts";
import { traceBatch, traceIn, traceOut } from "./trace-session.ts";

function createTrace() {
  const lines: TraceLine[] = [];
  const context = {
    config: { name: "bank", volumes: [{ name: "data" }, { name: "log" }] },
    ports: { trace: { line: (line: TraceLine) => void lines.push(line) } },
  } as unknown as GroupContext;
  const frame = (type: FrameType, fields: Partial<FrameHeader>): FrameHeader => ({
    ...emptyHeader(type),
    generation: 2,
    epoch: 3,
    ...fields,
  });
  return { context, frame, told: () => lines.splice(0) };
}

const session = { group: "bank", copy: "west", generation: 2, epoch: 3 };

test("U58: a frame's line has what that type of frame says, and no field that it does not use", () => {
  const { context, frame, told } = createTrace();
  for (const [type, fields, line] of [
    ["begun", { sequence: 9 }, {}],
    ["openMapEnd", {}, {}],
    ["ack", { lsn: 7, sequence: 5 }, { lsn: 7, index: 5 }],
    ["progress", { set: 0, lsn: 0 }, { set: 0, lsn: 0 }],
    ["logged", { lsn: 7, set: 2, index: 4 }, { lsn: 7, set: 2, index: 4 }],
    ["begin", {}, {}],
    ["begin", { lsn: 9 }, { lsn: 9 }],
    ["synchronized", { lsn: 9 }, { lsn: 9 }],
    ["flush", { index: 4, volume: 0xffff }, { index: 4, volume: "*" }],
    [
      "write",
      { lsn: 7, sequence: 5, volume: 1, offset: 4096, length: 512 },
      { lsn: 7, index: 5, volume: "log", offset: 4096, length: 512 },
    ],
  ] as const) {
    traceIn(context, "west", frame(frameType[type], fields));
    assert.deepEqual(told(), [{ dir: "in", kind: type, ...session, ...line }]);
  }
});

test("U58: of batches and records each entry has a line, both ways, and the frame around them none", () => {
  const { context, frame, told } = createTrace();
  for (const type of [frameType.batch, frameType.record]) {
    traceIn(context, "west", frame(type, { index: 56 }));
    traceOut(context, "west", frame(type, { index: 56 }));
  }
  assert.deepEqual(told(), []);
  const write = sampleEntry({ set: 4, index: 1, lsn: 7, volume: 1, offset: 512, length: 1024 });
  const seal = sampleEntry({ kind: "seal", set: 4, index: 2, lsn: 7, offset: 4, length: 0 });
  const place = { volume: "log", offset: 512, length: 1024 };
  for (const dir of ["in", "out"] as const) {
    traceBatch(context, dir, session, [write, seal]);
    assert.deepEqual(told(), [
      { dir, kind: "write", ...session, set: 4, index: 1, lsn: 7, ...place },
      { dir, kind: "seal", ...session, set: 4, index: 2, lsn: 7 },
    ]);
  }
});
