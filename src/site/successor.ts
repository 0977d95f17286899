import { compareHistories, generationCounter } from "#core/history.ts";
import type { Group } from "./group.ts";

/** A site that was heard to be of a generation that this one does not have, and its number: somebody has taken over. */
export function successorHeard({
  views,
  context,
}: Group): { readonly site: string; readonly generation: number } | undefined {
  const { history } = context.store.record;
  for (const [site, { view }] of views) {
    const relation = compareHistories(view.history, history);
    if (relation === "ahead" || relation === "diverged")
      return { site, generation: generationCounter(view.history) };
  }
  return undefined;
}
