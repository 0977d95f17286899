/** A planted bug: a text patch to one file of the engine, and the invariants whose checkers must notice it. */
export type Mutant = {
  readonly name: string;
  /** Relative to the repository. */
  readonly file: string;
  /** Must occur exactly once. */
  readonly find: string;
  readonly replace: string;
  /** The checkers that must notice it: one of them reports it, whichever of them comes first. */
  readonly ids: readonly string[];
  /** What is broken, in words. M1 to M9 are PROOF §4.1's. */
  readonly note: string;
  /**
   * No seed is known that shows it since worlds have changed, and some thousands were looked through: CI does not plant it, and
   * `--mutant NAME` does.
   */
  readonly isSeldom?: true;
};
