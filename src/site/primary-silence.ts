import { primaryOf } from "./group.ts";
import type { Group } from "./group.ts";

/**
 * For how long this site has had no sign of the group's primary, in ms; 0 while it has one. Counted from when its inquiry was
 * found to be unanswered, from this process's start at the earliest, and anew after a standstill of its own. A primary that
 * asks us is there, too, though we do not reach it. A connection that stands says nothing: a machine that is gone ends
 * none, and a primary that neither asks nor answers has given its session up itself.
 */
export function primarySilence(group: Group): number {
  const { context, run, views } = group;
  const primary = primaryOf(group);
  if (run !== undefined || primary === context.site) return 0;
  const { downSinceMs } = context.inquiries.of(primary);
  if (downSinceMs === undefined) return 0;
  const saidMs = views.get(primary)?.atMs ?? 0;
  return Math.max(0, Math.floor(context.ports.clock.nowMs() - Math.max(downSinceMs, saidMs)));
}

/** What feeds this site is a connection to a primary that has been silent for longer than a loss takes. */
export function isFeederSilent(group: Group): boolean {
  const { copy, bunker, config, context } = group;
  const [first] = config.copies.values();
  const { timeoutMs } = config.copies.get(context.site) ?? first ?? {};
  if (timeoutMs === undefined || (bunker ?? copy)?.fedBy() !== primaryOf(group)) return false;
  return primarySilence(group) >= timeoutMs;
}

/** A machine that is gone ends no connection. A primary has given one up by then, too, over which it asks and hears nothing. */
export function giveUpSilentFeeder(group: Group): void {
  if (!isFeederSilent(group)) return;
  const primary = primaryOf(group);
  group.copy?.close(`${primary} does not answer: ${group.context.inquiries.of(primary).why}`);
}
