import { limits } from "#base/limits.ts";

// Whether the next batch for a copy is packed. `on` packs whatever is long enough. `auto` packs where the link is what the copy
// waits for, known from how fast its connections take bytes while they have some, and where what was packed lately shrank. It
// cannot know that packing costs nothing (the processor may be wanted elsewhere, and a process that stood still takes its link
// for slow), which is why the cluster file says nothing of it by default.

export type PackChoice = {
  readonly compress: "on" | "auto" | undefined;
  /**
   * How long one connection takes for a byte while it has some, lately; undefined: not known. Times are averaged, not rates:
   * what the socket's memory swallowed at once would outweigh all that the link carried.
   */
  msPerByte: number | undefined;
  /** Bytes that were offered since that was last measured. */
  unmeasuredBytes: number;
  /** What is left of what was packed lately, of 1; undefined: not known. */
  ratio: number | undefined;
  /** Bytes sent as they are since packing did not pay. */
  plainBytes: number;
};

/** How much of what was known is left when something new is. */
const memory = 0.75;

export function createPackChoice(compress: PackChoice["compress"]): PackChoice {
  return { compress, msPerByte: undefined, unmeasuredBytes: 0, ratio: undefined, plainBytes: 0 };
}

/** Whether to pack a payload of so many bytes, for a session of so many connections. */
export function choosePacking(choice: PackChoice, bytes: number, lanes: number): boolean {
  const { compress } = choice;
  if (compress === undefined || bytes < limits.packBytesMin) return false;
  if (compress === "on") return true;
  choice.unmeasuredBytes += bytes;
  // Packed, it may never have much to send again: without that, a link that has become fast would not be seen.
  if (choice.unmeasuredBytes > limits.packRetryBytes) choice.msPerByte = undefined;
  const { msPerByte } = choice;
  if (msPerByte === undefined) return false;
  if ((lanes * 1_000) / msPerByte > limits.packLinkBytesPerSecondMax) return false;
  if (choice.ratio === undefined || choice.ratio * 100 <= limits.packPercentMax) return true;
  choice.plainBytes += bytes;
  if (choice.plainBytes < limits.packRetryBytes) return false;
  choice.ratio = undefined;
  return true;
}

/** So many bytes were packed to so many. */
export function notePacked(choice: PackChoice, bytes: number, packedBytes: number): void {
  choice.ratio = lately(choice.ratio, packedBytes / bytes);
  choice.plainBytes = 0;
}

/** How fast one connection takes what it has to send. */
export type LaneMeter = {
  /** Since when it has had something to send, without a break; undefined: it has nothing. */
  sinceMs: number | undefined;
  takenBytes: number;
};

export function createLaneMeter(): LaneMeter {
  return { sinceMs: undefined, takenBytes: 0 };
}

/** To be told whenever something was handed to a connection, or it has sent all: what it was given ever, and still has. */
export function noteLane(
  choice: PackChoice,
  meter: LaneMeter,
  nowMs: number,
  bytes: { readonly sent: number; readonly queued: number },
): void {
  const takenBytes = bytes.sent - bytes.queued;
  if (meter.sinceMs !== undefined && takenBytes - meter.takenBytes >= limits.packSampleBytesMin) {
    const tookMs = Math.max(nowMs - meter.sinceMs, 0.001);
    choice.msPerByte = lately(choice.msPerByte, tookMs / (takenBytes - meter.takenBytes));
    choice.unmeasuredBytes = 0;
    meter.sinceMs = undefined;
  }
  if (bytes.queued === 0) meter.sinceMs = undefined;
  else if (meter.sinceMs === undefined) Object.assign(meter, { sinceMs: nowMs, takenBytes });
}

function lately(before: number | undefined, now: number): number {
  return before === undefined ? now : before * memory + now * (1 - memory);
}
