import { limits } from "#base/limits.ts";
import type { HostOutcome, HostRequest, HostVolume } from "#ports/host-request.ts";

const pageBytes = 4096;

/** A volume in memory that a test can look into, hold up and let fail. */
export type MemoryVolume = HostVolume & {
  readonly content: Uint8Array;
  /** All requests since the start, without their payload; the latest last. */
  readonly seen: SeenRequest[];
  /** Requests that came while `held`, in order. */
  readonly waiting: HostRequest[];
  /** While set, requests are kept instead of answered. */
  held: boolean;
  /** What writes, zeroes, reads and flushes end with; anything but "ok" leaves the content alone. */
  outcome: HostOutcome;
  /** Answers what was held, and no longer holds. */
  release(): void;
};

export type SeenRequest = {
  readonly kind: HostRequest["kind"];
  readonly offset: number;
  readonly length: number;
  readonly fua: boolean;
  readonly mayPunch: boolean;
  readonly pieces: number;
};

/** Makes a volume of zeros, all of it a hole. It answers within `submit`. */
export function createMemoryVolume(group: string, name: string, bytes: number): MemoryVolume {
  const stored = new Uint8Array(Math.ceil(bytes / pageBytes));
  const volume: MemoryVolume = {
    group,
    name,
    index: 0,
    bytes,
    writeBytesMax: limits.hostRequestBytesMax,
    content: new Uint8Array(bytes),
    seen: [],
    waiting: [],
    held: false,
    outcome: "ok",
    submit(request) {
      const { kind, offset, length, fua, mayPunch, payload } = request;
      volume.seen.push({ kind, offset, length, fua, mayPunch, pieces: payload.length });
      if (volume.held) volume.waiting.push(request);
      else perform(volume, stored, request);
    },
    extents(offset, length, done) {
      done(extentsOf(stored, offset, length));
    },
    release() {
      volume.held = false;
      for (const request of volume.waiting.splice(0)) perform(volume, stored, request);
    },
  };
  return volume;
}

function perform(volume: MemoryVolume, stored: Uint8Array, request: HostRequest): void {
  const { kind, offset, length, payload, mayPunch } = request;
  if (volume.outcome !== "ok") return request.onReply(request, volume.outcome, undefined);
  const end = offset + length;
  if (kind === "read") return request.onReply(request, "ok", volume.content.slice(offset, end));
  if (kind === "write") {
    let at = offset;
    for (const piece of payload) {
      volume.content.set(piece, at);
      at += piece.length;
    }
    stored.fill(1, Math.floor(offset / pageBytes), Math.ceil(end / pageBytes));
  } else if (kind === "zero") {
    volume.content.fill(0, offset, end);
    if (mayPunch) stored.fill(0, Math.ceil(offset / pageBytes), Math.floor(end / pageBytes));
    else stored.fill(1, Math.floor(offset / pageBytes), Math.ceil(end / pageBytes));
  }
  request.onReply(request, "ok", undefined);
}

function extentsOf(
  stored: Uint8Array,
  offset: number,
  length: number,
): { offset: number; length: number; hole: boolean }[] {
  const extents: { offset: number; length: number; hole: boolean }[] = [];
  const end = offset + length;
  for (let at = offset; at < end;) {
    const page = Math.floor(at / pageBytes);
    const next = Math.min(end, (page + 1) * pageBytes);
    const hole = stored[page] === 0;
    const last = extents.at(-1);
    if (last?.hole === hole) last.length += next - at;
    else extents.push({ offset: at, length: next - at, hole });
    at = next;
  }
  return extents;
}
