// Counting over the parts of a test run.

/** What one part of a run came to. */
export type Tally = {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** What failed, as far as it has a name, each with its reason: said again at the end, where a long run is read first. */
  readonly failures: readonly string[];
};

export const emptyTally: Tally = { passed: 0, failed: 0, skipped: 0, failures: [] };

export function addTallies(a: Tally, b: Tally): Tally {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    failures: [...a.failures, ...b.failures],
  };
}

/** The closing line that CI and people read: `12 passed, 0 failed, 1 skipped`. */
export function formatTally(tally: Omit<Tally, "failures">): string {
  return `${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`;
}

/** Reads a program's closing line, with or without the skipped; null when the last line says something else. */
export function parseTally(output: string): Omit<Tally, "failures"> | null {
  const lastLine = output.trimEnd().split("\n").at(-1) ?? "";
  const match = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/.exec(lastLine.trim());
  if (match === null) return null;
  const [, passed, failed, skipped] = match;
  return { passed: Number(passed), failed: Number(failed), skipped: Number(skipped ?? 0) };
}

/** A line with which a program of the house names what failed, or a planted bug that nothing caught. */
export function namesFailure(line: string): boolean {
  return /^(FAILED|MISSED)\b/.test(line);
}
