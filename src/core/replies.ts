import type { HostOutcome, HostRequest } from "#ports/host-request.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";

/** Gives a request back to its host, exactly once. */
export function reply(
  primary: Primary,
  request: HostRequest,
  outcome: HostOutcome,
  out: PrimaryEffect[],
): void {
  primary.inFlight -= 1;
  if (primary.suspended) primary.heldReplies.push({ request, outcome });
  else tell(primary, request, outcome, out);
}

function tell(
  primary: Primary,
  request: HostRequest,
  outcome: HostOutcome,
  out: PrimaryEffect[],
): void {
  const isAck = outcome === "ok" && (request.kind === "write" || request.kind === "zero");
  if (isAck) primary.ackedLsn = Math.max(primary.ackedLsn, request.lsn);
  out.push({ kind: "reply", request, outcome });
}

/** It is certain again that we are the primary: what gathered meanwhile goes out. */
export function releaseReplies(primary: Primary, out: PrimaryEffect[]): void {
  for (const { request, outcome } of primary.heldReplies.splice(0))
    tell(primary, request, outcome, out);
}

/** We are not the primary any more: what gathered must not look as if it had been kept. */
export function refuseReplies(primary: Primary, out: PrimaryEffect[]): void {
  for (const held of primary.heldReplies.splice(0)) {
    out.push({ kind: "reply", request: held.request, outcome: "gone" });
  }
}
