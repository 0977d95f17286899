import { limits } from "#base/limits.ts";

// Whether the next batch for a copy is packed. `on` packs whatever is long enough. `auto` packs where it pays: for a
// copy that is behind, over a link that carries little, what lately shrank. A copy that keeps up has nothing to gain,
// and the processor may be wanted elsewhere. What a slow disk at the copy holds up looks like a slow link, and is
// packed too.

export type PackChoice = {
  readonly compress: "on" | "auto" | undefined;
  /** What is left of what was packed lately, of 1; undefined: not known. */
  ratio: number | undefined;
  /** Bytes sent as they are since packing did not pay. */
  plainBytes: number;
  /** The last batch long enough was packed: what is delivered now has crossed the link as so much less. */
  isPacking: boolean;
};

/** What the sender knows of the way to its copy. */
export type Way = {
  /** The copy is behind: what it is sent was read back from the journal, and much more waits there. */
  readonly isBehind: boolean;
  /** How fast payloads have reached its images lately; undefined: not known yet. */
  readonly bytesPerMs: number | undefined;
};

/** How much of what was known is left when something new is. */
const memory = 0.75;

export function createPackChoice(compress: PackChoice["compress"]): PackChoice {
  return { compress, ratio: undefined, plainBytes: 0, isPacking: false };
}

/** Whether to pack a payload of so many bytes. */
export function choosePacking(choice: PackChoice, bytes: number, way: Way): boolean {
  const { compress } = choice;
  if (compress === undefined || bytes < limits.packBytesMin) return false;
  choice.isPacking = compress === "on" || (way.isBehind && pays(choice, bytes, way));
  return choice.isPacking;
}

function pays(choice: PackChoice, bytes: number, { bytesPerMs }: Way): boolean {
  const { ratio, isPacking } = choice;
  const carriedPerMs = (bytesPerMs ?? 0) * (isPacking ? (ratio ?? 1) : 1);
  if (carriedPerMs * 1_000 > limits.packLinkBytesPerSecondMax) return false;
  if (ratio === undefined || ratio * 100 <= limits.packPercentMax) return true;
  choice.plainBytes += bytes;
  if (choice.plainBytes < limits.packRetryBytes) return false;
  choice.ratio = undefined;
  return true;
}

/** So many bytes were packed to so many. */
export function notePacked(choice: PackChoice, bytes: number, packedBytes: number): void {
  const now = packedBytes / bytes;
  choice.ratio = choice.ratio === undefined ? now : choice.ratio * memory + now * (1 - memory);
  choice.plainBytes = 0;
}
