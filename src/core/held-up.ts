/**
 * What holds the writes of a serving primary's hosts up until something changes, as status gives it to programs; the words
 * for people are `whyHeldUp`. `verdict`: what a write gets meanwhile, it waits or is answered with an error.
 */
export type HeldUp = HeldUpByCopy | HeldUpByJournal | HeldUpByDisk;

/** A copy is away without which nothing may be acked (I4). */
export type HeldUpByCopy = {
  readonly by: "copy";
  readonly copy: string;
  readonly onLoss: "stall" | "fail";
  readonly verdict: "wait" | "fail";
};

/** The journal is full of what it keeps for a copy, a device or a failed volume, or until the images here are synced. */
export type HeldUpByJournal = { readonly by: "journal"; readonly verdict: "wait" | "fail" } & (
  | { readonly keptFor: "copy"; readonly copy: string }
  | { readonly keptFor: "device" | "failed-volume"; readonly volume: string }
  | { readonly keptFor: "images" }
);

/** The disk under the journal is full; `said`: what it said, and of which file. */
export type HeldUpByDisk = {
  readonly by: "disk";
  readonly said: string;
  readonly verdict: "wait" | "fail";
};

/** The same for people, who look for the word "disk" where it is one; "" where hosts can write. */
export function whyHeldUp(heldUp: HeldUp | undefined): string {
  if (heldUp === undefined) return "";
  const what = whatHappens(heldUp);
  switch (heldUp.by) {
    case "copy":
      return `${what} until copy ${heldUp.copy} is back (onLoss: ${heldUp.onLoss})`;
    case "journal":
      return `the journal is full ${whyKept(heldUp)}; ${what}`;
    case "disk":
      return `the disk under the journal is full: ${heldUp.said}; it goes on by itself once there is room; ${what}`;
  }
}

/** What hosts get of it. */
export function whatHappens({ verdict }: HeldUp): "writes wait" | "writes are refused" {
  return verdict === "wait" ? "writes wait" : "writes are refused";
}

function whyKept(heldUp: HeldUpByJournal): string {
  switch (heldUp.keptFor) {
    case "copy":
      return `of what ${heldUp.copy} lacks`;
    case "device":
      return `of what the device of ${heldUp.volume} lacks`;
    case "failed-volume":
      return `of what ${heldUp.volume} lacks, which has failed here`;
    case "images":
      return "until the images here are synced";
  }
}
