/** One thing that happened, for the person who reads why a seed failed. */
export type StoryLine = { readonly atUs: number; readonly who: string; readonly what: string };

/** The story of a world. Kept only when somebody wants to read it: a run of thousands keeps none. */
export class Story {
  readonly told: boolean;
  readonly #lines: StoryLine[] = [];
  readonly #linesMax: number;

  constructor(options: { told: boolean; linesMax: number }) {
    this.told = options.told;
    this.#linesMax = options.linesMax;
  }

  /** `what` is a function so that an untold story costs nothing. */
  tell(atUs: number, who: string, what: () => string): void {
    if (!this.told) return;
    this.#lines.push({ atUs, who, what: what() });
    if (this.#lines.length > 2 * this.#linesMax) this.#lines.splice(0, this.#linesMax);
  }

  tail(): string[] {
    return this.#lines
      .slice(-this.#linesMax)
      .map(
        ({ atUs, who, what }) =>
          `${(atUs / 1000).toFixed(3).padStart(12)} ms  ${who.padEnd(8)} ${what}`,
      );
  }
}
