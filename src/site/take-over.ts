import { limits } from "#base/limits.ts";
import { generationCounter } from "#core/history.ts";
import type { HandoverOpen } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { CopyRun } from "./copy-run.ts";
import { emit } from "./group-context.ts";
import { knownRecord } from "./group.ts";
import { promote } from "./promote.ts";
import type { Group } from "./group.ts";
import { refusePeer, sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";

// The side of a handover that takes the role (core/handover.ts).

/**
 * The primary that feeds this site offers it the role, or asks whether it would take it. Judged and begun in one step: whoever
 * is refused may serve again at once, and a session that is let in later proves that nothing was begun.
 */
export function handoverAsked(group: Group, peer: Peer, open: HandoverOpen): void {
  const { copy } = group;
  const why = copy === undefined ? "this site is no copy" : whyNot(group, copy, peer, open);
  if (copy === undefined || why !== undefined) return refuse(group, peer, why ?? "");
  if (!open.isOffer) return sendDocument(peer, frameType.opened, {});
  // The end of this session must not be heard of before the record has what the old primary knew.
  copy.stable(open.stableLsn, open.lsnReserved);
  const told = `${peer.site} hands over everything up to LSN ${open.lsn}; nothing is lost`;
  emit(group.context, { kind: "promote", why: told });
  promote(group, { from: peer.site }, (failure) => {
    if (failure === undefined) return sendDocument(peer, frameType.opened, {});
    // Whether the generation is on the disk is not known: this site says nothing, also not that it refuses.
    if (group.failedWhy !== "") return peer.connection.close(failure);
    refuse(group, peer, failure);
  });
}

function whyNot(group: Group, copy: CopyRun, peer: Peer, open: HandoverOpen): string | undefined {
  const { record } = group.context.store;
  if (group.failedWhy !== "") return group.failedWhy;
  if (group.isStopping) return "this site is stopping";
  if (group.isChangingRole) return "a change of role is under way";
  const fed = copy.fedUnder();
  const isSession =
    fed?.site === peer.site &&
    fed.open.epoch === open.epoch &&
    fed.open.incarnation === open.incarnation &&
    generationCounter(fed.open.history) === open.generation;
  // One of an earlier session may have been taken back since.
  if (!isSession || copy.copy.session?.begun !== true)
    return "the offer is of another session than the one that feeds this site";
  if (record.history.length >= limits.generationsMax)
    return `the group has been through ${record.history.length} generations, the most that can be told apart`;
  if (record.branch !== undefined || record.discarding !== undefined)
    return `${group.context.site} keeps a branch, which hosts would overwrite: antipode discard ${group.name} --site ${group.context.site} --drop-branch lets it go`;
  if (record.preservedPoint !== undefined || record.reverted !== undefined)
    return `the image here is ${record.image}, and a resync is not over`;
  return open.isOffer ? whyBehind(copy, open) : undefined;
}

function whyBehind({ copy, staging }: CopyRun, { lsn }: HandoverOpen): string | undefined {
  const takesSets = copy.session?.takesSets === true;
  const wanted = takesSets ? "consistent" : "synchronized";
  if (copy.record.image !== wanted) return `the image here is ${copy.record.image}`;
  const held = takesSets ? (staging?.staging.complete.lsn ?? 0) : copy.appliedLsn;
  return held < lsn
    ? `this site has everything up to LSN ${held}, and not up to ${lsn}`
    : undefined;
}

function refuse(group: Group, peer: Peer, why: string): void {
  const { history } = knownRecord(group);
  refusePeer(peer, "not-a-copy", why, history);
}
