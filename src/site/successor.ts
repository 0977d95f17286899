import { compareHistories, currentGeneration } from "#core/history.ts";
import type { Successor } from "#core/promotion.ts";
import type { Group } from "./group.ts";

/**
 * Somebody has taken over: a site was heard to be of a generation that this one does not have. Of several the highest one, and
 * of the sites that are of it one that answers.
 */
export function successorHeard({ views, context }: Group): Successor | undefined {
  const { history } = context.store.record;
  const found: Successor[] = [];
  for (const [site, { view }] of views) {
    const relation = compareHistories(view.history, history);
    const last = currentGeneration(view.history);
    if (last !== undefined && (relation === "ahead" || relation === "diverged"))
      found.push({ site, primary: last.site, generation: last.counter });
  }
  const rank = ({ site, primary }: Successor): number =>
    (context.inquiries.of(site).isUp ? 2 : 0) + (site === primary ? 1 : 0);
  found.sort((one, other) => other.generation - one.generation || rank(other) - rank(one));
  return found[0];
}
