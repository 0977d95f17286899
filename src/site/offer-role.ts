import { stableLsn } from "#core/flush.ts";
import { generationCounter } from "#core/history.ts";
import type { PrimaryEvent } from "#core/primary-events.ts";
import type { Primary } from "#core/primary-state.ts";
import { parseRefusal } from "#wire/peer/documents.ts";
import type { HandoverOpen } from "#wire/peer/documents.ts";
import type { GroupContext } from "./group-context.ts";
import { dialPeer } from "./peer-connection.ts";
import type { DialOutcome } from "./peer-connection.ts";
import type { SessionWire } from "./session-wire.ts";

// The side of a handover that gives the role (core/handover.ts): a connection of its own, with one question and one answer.

type Owner = {
  readonly context: GroupContext;
  readonly primary: Primary;
  readonly submit: (event: PrimaryEvent) => void;
};

/** Offers the role to the site of a session. What comes of it is an event; no answer is one too. */
export function offerRole(
  owner: Owner,
  offer: { readonly wire: SessionWire; readonly site: string; readonly ticket: number },
): void {
  const { ticket, site, wire } = offer;
  ask(owner, { site, epoch: wire.epoch, isOffer: true }, (outcome) => {
    switch (outcome.kind) {
      case "opened":
        outcome.peer.connection.close("the role is taken");
        return owner.submit({ kind: "outranked", by: `${site} has taken over`, successor: site });
      case "refused":
        return owner.submit({ kind: "offerRefused", ticket, why: reasonOf(outcome.document) });
      case "failed":
        return owner.submit({ kind: "offerUnanswered", ticket, why: outcome.why });
    }
  });
}

/** Asks whether a site would take the role in its present session. Gives why not, or nothing. */
export function askWhetherItTakes(
  owner: Omit<Owner, "submit">,
  member: { readonly site: string; readonly epoch: number },
  done: (why: string | undefined) => void,
): void {
  ask(owner, { ...member, isOffer: false }, (outcome) => {
    switch (outcome.kind) {
      case "opened":
        outcome.peer.connection.close("that is all");
        return done(undefined);
      case "refused":
        return done(reasonOf(outcome.document));
      case "failed":
        return done(
          `it does not answer the question whether it would (${outcome.why}); both sites need a version that can hand over`,
        );
    }
  });
}

function ask(
  { context, primary }: Omit<Owner, "submit">,
  asked: { readonly site: string; readonly epoch: number; readonly isOffer: boolean },
  done: (outcome: DialOutcome) => void,
): void {
  const { site, epoch, isOffer } = asked;
  const { record } = primary;
  const document: HandoverOpen = {
    purpose: "handover",
    group: record.group,
    isOffer,
    generation: generationCounter(record.history),
    incarnation: record.incarnation,
    epoch,
    lsn: primary.nextLsn - 1,
    lsnReserved: record.lsnReserved,
    stableLsn: stableLsn(primary),
  };
  // An offer that hangs longer than a silence may last would hide the silence of the session (I35).
  const timeoutMs = primary.members.find((member) => member.site === site)?.policy.timeoutMs;
  const target = {
    site,
    address: context.addressOf(site),
    document,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
  dialPeer(context.identity, context.ports.transport, target, done);
}

function reasonOf(document: unknown): string {
  const refusal = parseRefusal(document);
  return refusal.ok ? refusal.value.why : refusal.error;
}
