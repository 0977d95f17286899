import { mutants } from "./mutants/list.ts";
import type { Mutant } from "./mutants/mutant.ts";
import { runPool } from "./pool.ts";
import storedSeeds from "./seeds.json" with { type: "json" };

export type MutantResult = {
  readonly mutant: Mutant;
  /** How many seeds it took, and which one caught it; undefined when none did. */
  readonly caught:
    | { readonly seeds: number; readonly seed: number; readonly ids: readonly string[] }
    | undefined;
};

/** Seeds that a bug may survive before it counts as missed. */
const seedsMax = 3000;

/** What takes more seeds than this costs more than to write one down: worlds change, and then others show a bug. */
const seedsKept = 3;

/**
 * Plants a bug and runs seeds until one of the checkers it should trip reports it: first the seeds that caught it before, then
 * from 1 on. Nothing but the checkers' findings counts, not even an assertion of the engine's own.
 */
export async function runMutant(mutant: Mutant): Promise<MutantResult> {
  const stored: Readonly<Record<string, readonly number[]>> = storedSeeds.mutants;
  const first = stored[mutant.name] ?? [];
  let given = 0;
  let ran = 0;
  let caught: MutantResult["caught"];
  const next = (): number | undefined => {
    given += 1;
    if (given > seedsMax + first.length) return undefined;
    return given <= first.length ? first[given - 1] : given - first.length;
  };
  // A second thread would run seeds that nobody asks for, since the first of them mostly is enough.
  await runPool({ jobs: 1, mutant: mutant.name }, next, ({ seed, findings }) => {
    ran += 1;
    const ids = [...new Set(findings.map(({ id }) => id))].filter((id) => mutant.ids.includes(id));
    if (ids.length > 0) caught ??= { seeds: ran, seed, ids };
    return caught === undefined;
  });
  return { mutant, caught };
}

/** Plants every bug, several at a time, and prints what noticed it. How many were caught, and missed. */
export async function runMutants(
  names: readonly string[],
  jobs: number,
): Promise<{ caught: number; missed: number }> {
  const planted = mutants.filter(({ isSeldom }) => isSeldom !== true);
  const chosen = names.length === 0 ? planted : mutants.filter(({ name }) => names.includes(name));
  if (names.length === 0 && planted.length < mutants.length)
    console.log(`${mutants.length - planted.length} bugs that no known seed shows are not planted`);
  let missed = 0;
  let at = 0;
  const tripped = new Set<string>();
  const thread = async (): Promise<void> => {
    for (let mutant = chosen[at++]; mutant !== undefined; mutant = chosen[at++]) {
      const { caught } = await runMutant(mutant);
      if (caught === undefined) {
        missed += 1;
        console.log(`MISSED ${mutant.name}: no seed of ${seedsMax} shows it (${mutant.note})`);
        continue;
      }
      for (const id of caught.ids) tripped.add(id);
      const { seeds, seed } = caught;
      const many = seeds > seedsKept ? `; sim/seeds.json had better begin with ${seed}` : "";
      console.log(
        `caught ${mutant.name} by ${caught.ids.join(", ")}: ${seeds} seeds, the last ${seed}${many}`,
      );
    }
  };
  await Promise.all(Array.from({ length: jobs }, thread));
  console.log(`invariants tripped: ${[...tripped].sort().join(" ")}`);
  return { caught: chosen.length - missed, missed };
}
