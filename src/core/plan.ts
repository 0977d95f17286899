/** What a command would do and cost, in plain sentences, before anything of it is done; and whether it may be. */
export type Plan = {
  /** `go`; `force`: only with `--force`, which loses what the lines name; `refuse`: not even then. */
  readonly verdict: "go" | "force" | "refuse";
  readonly lines: readonly string[];
  /** Why not, and what helps; "" with `go`. */
  readonly refusal: string;
  readonly hint: string;
};

export function go(lines: readonly string[]): Plan {
  return { verdict: "go", lines, refusal: "", hint: "" };
}

export function force(lines: readonly string[], refusal: string, hint: string): Plan {
  return { verdict: "force", lines, refusal, hint };
}

export function refuse(refusal: string, hint: string, lines: readonly string[] = []): Plan {
  return { verdict: "refuse", lines, refusal, hint };
}
