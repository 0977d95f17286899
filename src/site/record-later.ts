import { limits } from "#base/limits.ts";
import { saveRecord } from "#store/group-store.ts";
import type { GroupContext } from "./group-context.ts";

/**
 * That a primary has failed should be on record before its next start, which else takes its journal for whole. The disk that
 * made it fail may take the record later.
 */
export function recordLater(context: GroupContext, isOver: () => boolean): void {
  context.ports.clock.after(limits.recordRetryMs, () => {
    if (isOver()) return;
    saveRecord(context.store, (failure) => {
      if (failure !== undefined) recordLater(context, isOver);
    });
  });
}
