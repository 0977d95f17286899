import { compareHistories } from "#core/history.ts";
import type { GroupView } from "#wire/peer/probe.ts";

/**
 * Whether a primary has said something newer before. What it says comes over two connections, with its own questions and in its
 * answers to ours, and the slower one may bring last what was said first. Within a history a primary's LSN never goes back, nor
 * does it over a restart; 0 is said by one that has not opened its journal, and tells nothing of what went before.
 */
export function isOutdated(view: GroupView, known: GroupView | undefined): boolean {
  if (view.role !== "primary" || known?.role !== "primary") return false;
  if (view.lsn === 0 || view.lsn >= known.lsn) return false;
  return compareHistories(view.history, known.history) === "same";
}
