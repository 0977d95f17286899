import type { Owner } from "./scheduler.ts";

/**
 * One life of one site's program. A crash in the midst of a call into a port cannot unwind the program's stack; instead
 * `alive` is cleared, and from then on nothing that the program does has any effect: the ports check it first.
 */
export type Process = Owner & {
  readonly site: string;
  /** Counts all lives of all sites, in the order of their starts. */
  readonly life: number;
  /** Undoes what the kernel does when a process ends: closes connections, settles what threads were writing. */
  readonly atExit: (() => void)[];
};
