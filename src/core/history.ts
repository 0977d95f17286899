/**
 * One tenure of a primary: who it was, and a random id so that two blind promotions never look equal (U56).
 * `counter` grows by one with each tenure and rides in every frame.
 */
export type Generation = {
  readonly counter: number;
  readonly id: string;
  readonly site: string;
  /** When it began, by the wall clock of its site, for people only; records of old builds do not say. */
  readonly atMs?: number;
  /**
   * Everything that the generation before it acked up to this LSN of that one is in this one, on its site's disk when it began;
   * undefined where that is unknown (SPEC-branch.md).
   */
  readonly heldLsn?: number;
  /**
   * The image that it began with was whole: what the one before had when it began is in this one, too. Undefined where the
   * image was of a preserved point, of different ages or in doubt, and in records of old builds.
   */
  readonly isWhole?: true;
};

/** All tenures that a site's data has been through, oldest first; empty for a disk that never held any. */
export type History = readonly Generation[];

export type Relation =
  /** Both are in the same tenure. */
  | "same"
  /** The first continues the second: it has all of its tenures and more. */
  | "ahead"
  | "behind"
  /** Each has a tenure that the other lacks: both were promoted from a common past (or from none). */
  | "diverged";

export function currentGeneration(history: History): Generation | undefined {
  return history[history.length - 1];
}

export function generationCounter(history: History): number {
  return currentGeneration(history)?.counter ?? 0;
}

/** How the first history relates to the second. A site without any history is behind everybody who has one. */
export function compareHistories(first: History, second: History): Relation {
  const shared = Math.min(first.length, second.length);
  for (let i = 0; i < shared; i += 1) {
    if (first[i]?.id !== second[i]?.id) return "diverged";
  }
  if (first.length === second.length) return "same";
  return first.length > second.length ? "ahead" : "behind";
}

/** How many tenures two histories have in common: both went on from there. */
export function forkOf(first: History, second: History): number {
  let shared = 0;
  while (shared < first.length && first[shared]?.id === second[shared]?.id) shared += 1;
  return shared;
}

/** The tenure that followed the end of `older` in `newer`, which must be ahead of it: who took over from it. */
export function successorOf(older: History, newer: History): Generation | undefined {
  return newer[older.length];
}

export function withTenure(
  history: History,
  site: string,
  id: string,
  began: Pick<Generation, "atMs" | "heldLsn" | "isWhole"> = {},
): History {
  return [...history, { counter: generationCounter(history) + 1, id, site, ...began }];
}

export function describeGeneration(history: History): string {
  const generation = currentGeneration(history);
  if (generation === undefined) return "no generation";
  return `generation ${generation.counter} of ${generation.site}`;
}
