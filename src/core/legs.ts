import type { HostOutcome, HostRequest } from "#ports/host-request.ts";
import { joinFlush, roundLegDone } from "./flush.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { FlushRound, Primary } from "./primary-state.ts";
import { reply } from "./replies.ts";

/**
 * A leg of a write has answered. After the last one, the host gets its reply, or waits for the flush that FUA asks for.
 */
export function legDone(primary: Primary, request: HostRequest, out: PrimaryEffect[]): void {
  request.legs -= 1;
  if (request.legs > 0) return;
  if (request.failure !== "ok") return reply(primary, request, request.failure, out);
  if (request.fua || primary.durability === "write") return joinFlush(primary, request, out);
  reply(primary, request, "ok", out);
}

/** What waited for a member, and will not have its answer, ends so at this leg. */
export function failWaiting(
  primary: Primary,
  waiting: { readonly requests: readonly HostRequest[]; readonly rounds: readonly FlushRound[] },
  outcome: HostOutcome,
  out: PrimaryEffect[],
): void {
  for (const request of waiting.requests) {
    request.failure = outcome;
    legDone(primary, request, out);
  }
  for (const round of waiting.rounds) {
    round.failure = outcome;
    roundLegDone(primary, round, out);
  }
}
