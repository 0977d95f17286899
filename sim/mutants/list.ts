/** A planted bug: a text patch to one file of the engine, and the invariants whose checkers must notice it. */
export type Mutant = {
  readonly name: string;
  /** Relative to the repository. */
  readonly file: string;
  /** Must occur exactly once. */
  readonly find: string;
  readonly replace: string;
  /** At least one of these must be reported; all of them over all mutants together. */
  readonly ids: readonly string[];
  /** What is broken, in words. */
  readonly note: string;
};

export const mutants: readonly Mutant[] = [];
