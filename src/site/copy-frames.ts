import { totalBytes } from "#base/bytes.ts";
import { wrong } from "#base/errors.ts";
import type { Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { CopyVolume, CopyWork, CopyWorkKind } from "#core/copy-state.ts";
import { decodeJson, reasonIn } from "#wire/peer/decode.ts";
import { parseBegin } from "#wire/peer/documents.ts";
import { allVolumes, frameFlags, frameType } from "#wire/peer/messages.ts";
import type { Frame, FrameHeader } from "#wire/peer/messages.ts";

// The door of a copy: what a primary may send, checked once (ranges, lengths, documents); behind it the machine trusts.

const kindOf: ReadonlyMap<number, CopyWorkKind> = new Map([
  [frameType.write, "write"],
  [frameType.zero, "zero"],
  [frameType.region, "region"],
  [frameType.regionZero, "regionZero"],
  [frameType.compare, "compare"],
  [frameType.flush, "flush"],
  [frameType.begin, "begin"],
  [frameType.memberMap, "memberMap"],
  [frameType.synchronized, "synchronized"],
  [frameType.fractured, "fractured"],
  [frameType.mark, "mark"],
]);

/** The frame as work for the machine, or which rule it breaks. */
export function workOf(
  frame: Frame,
  session: number,
  volumes: readonly CopyVolume[],
): Result<CopyWork> {
  const kind = kindOf.get(frame.header.type);
  if (kind === undefined) {
    return wrong(`a primary has no business to send frame type ${frame.header.type}`);
  }
  const rule = brokenRule(kind, frame, volumes);
  if (rule !== undefined) return wrong(rule);
  const work = plainWork(kind, frame, session);
  if (kind === "begin") {
    const begin = decodeJson(frame);
    const parsed = begin.ok ? parseBegin(begin.value) : begin;
    return parsed.ok ? { ok: true, value: { ...work, begin: parsed.value } } : parsed;
  }
  if (kind === "fractured") {
    const why = reasonIn(frame);
    if (why === undefined) return wrong("a FRACTURED gives no reason");
    return { ok: true, value: { ...work, why } };
  }
  return { ok: true, value: work };
}

function plainWork(kind: CopyWorkKind, frame: Frame, session: number): CopyWork {
  const { header, body } = frame;
  return {
    session,
    kind,
    volume: header.volume === allVolumes ? -1 : header.volume,
    offset: header.offset,
    length: header.length,
    lsn: header.lsn,
    set: kind === "synchronized" || kind === "mark" ? header.set : 0,
    sequence: header.sequence,
    index: header.index,
    mayPunch: (header.flags & frameFlags.mayPunch) !== 0,
    body,
    begin: undefined,
    why: "",
    isDone: false,
  };
}

function brokenRule(
  kind: CopyWorkKind,
  frame: Frame,
  volumes: readonly CopyVolume[],
): string | undefined {
  const { header, body } = frame;
  switch (kind) {
    case "write":
    case "region":
      if (header.length !== header.bodyBytes) return "a write's length is not that of its bytes";
      return brokenRange(header, volumes, limits.hostRequestBytesMax);
    case "zero":
    case "regionZero":
      return brokenRange(header, volumes, Number.MAX_SAFE_INTEGER);
    case "compare":
      if (header.index < limits.regionBytesMin || header.index > limits.regionBytesMax) {
        return "a compare names regions of a size that no group has";
      }
      if (totalBytes(body) !== Math.ceil(header.length / header.index) * 8) {
        return "a compare has not one hash for each region";
      }
      return brokenRange(header, volumes, limits.resyncChunkBytes);
    case "flush":
      return header.volume === allVolumes ? undefined : brokenVolume(header, volumes);
    case "memberMap":
      return brokenVolume(header, volumes);
    case "mark":
    case "begin":
    case "synchronized":
    case "fractured":
      return undefined;
    case "setEnd":
      return "the end of a set is nothing that a primary sends";
  }
}

function brokenRange(
  header: FrameHeader,
  volumes: readonly CopyVolume[],
  lengthMax: number,
): string | undefined {
  const volume = volumes[header.volume];
  if (volume === undefined) return `there is no volume ${header.volume} here`;
  if (header.length === 0 || header.length > lengthMax) {
    return `a frame of type ${header.type} has a length of ${header.length} bytes`;
  }
  if (header.offset + header.length > volume.bytes) return "a frame reaches beyond its volume";
  return undefined;
}

function brokenVolume(header: FrameHeader, volumes: readonly CopyVolume[]): string | undefined {
  return volumes[header.volume] === undefined
    ? `there is no volume ${header.volume} here`
    : undefined;
}
