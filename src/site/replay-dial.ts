import { groupOfPathBunker } from "#base/path-bunker.ts";
import { parseRefusal, parseReplayOpened } from "#wire/peer/documents.ts";
import type { ReplayOpen } from "#wire/peer/documents.ts";
import type { CommandOutcome } from "./api.ts";
import type { Group } from "./group.ts";
import { dialPeer } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import { refused } from "./refusals.ts";

/** What this copy asks of a bunker. */
export type AskedOfBunker = Pick<
  ReplayOpen,
  | "completeSet"
  | "completeLsn"
  | "untilLsn"
  | "isWanted"
  | "isCancelled"
  | "reached"
  | "automaticAfterMs"
>;

/**
 * `busy`: it refuses for now; `activated`: another copy is being brought up, or was. The message is for people, and
 * names the bunker.
 */
export type BunkerAnswer =
  | { readonly kind: "opened"; readonly peer: Peer; readonly document: unknown }
  | { readonly kind: "unreachable" | "busy" | "activated" | "refused"; readonly message: string };

/** Dials the bunker as the copy that is to be brought up, or was, from its log. */
export function dialBunker(
  group: Group,
  { from, address }: { readonly from: string; readonly address: string },
  asked: AskedOfBunker,
  done: (answer: BunkerAnswer) => void,
): void {
  const { context } = group;
  const { record } = context.store;
  const document: ReplayOpen = {
    purpose: "replay",
    group: group.name,
    volumes: record.volumes,
    regionBytes: record.regionBytes,
    history: record.history,
    incarnation: record.incarnation,
    ...asked,
  };
  const target = { site: from, address, document };
  dialPeer(context.identity, context.ports.transport, target, (outcome) => {
    if (outcome.kind === "opened") return done(outcome);
    if (outcome.kind === "failed")
      return done({ kind: "unreachable", message: `${from} cannot be reached: ${outcome.why}` });
    const refusal = parseRefusal(outcome.document);
    const code = refusal.ok ? refusal.value.code : undefined;
    const kind = code === "busy" || code === "activated" ? code : "refused";
    const why = refusal.ok ? refusal.value.why : refusal.error;
    done({ kind, message: `${from} ${kind === "busy" ? "is busy" : "refuses"}: ${why}` });
  });
}

/**
 * What the command comes to that the bunker did not take up; the same words whether it was to begin a replay or to call one
 * off. `activatedHint`: what to do where another copy has the log.
 */
export function notOpened(
  group: Group,
  from: string,
  answer: Exclude<BunkerAnswer, { kind: "opened" }>,
  activatedHint: string,
): CommandOutcome {
  const { kind, message } = answer;
  switch (kind) {
    case "unreachable": {
      const hint =
        groupOfPathBunker(from) === undefined
          ? `antipode serve --site ${from} (on its machine), or mend the network to it`
          : "mount what the path lies on, or name the one that holds the log, as this site's machine sees it";
      return refused("failed", message, hint);
    }
    case "busy": {
      const isSite = groupOfPathBunker(from) === undefined;
      const asks = isSite
        ? `antipode why ${group.name} --site ${from} says what it waits for; `
        : "";
      return refused(
        "failed",
        message,
        `nothing was changed; ${asks}give the command again when that is over`,
      );
    }
    case "activated":
      return refused("unsafe", message, activatedHint);
    case "refused":
      return refused(
        "unsafe",
        message,
        `nothing was changed; antipode promote ${group.name} --site ${group.context.site} --dry-run says what a takeover without that log would lose`,
      );
  }
}

/**
 * How far the log at this bunker goes, read now as for a replay that is not wanted: it takes the log from nobody. `done` gets 0
 * where that cannot be had, or the log leads on to nothing from what this copy has.
 */
export function readLogEnd(group: Group, from: string, done: (endLsn: number) => void): void {
  const { complete } = group.copy?.staging?.staging ?? {};
  if (complete === undefined) return done(0);
  const address = group.context.addressOf(from);
  const has = { completeSet: complete.set, completeLsn: complete.lsn };
  dialBunker(group, { from, address }, { ...has, untilLsn: null, isWanted: false }, (answer) => {
    if (answer.kind !== "opened") return done(0);
    answer.peer.connection.close("that was all");
    const opened = parseReplayOpened(answer.document);
    // It has nothing behind the copy's last set: then it ends with it, or before.
    done(opened.ok ? Math.max(complete.lsn, opened.value.has.lsn) : 0);
  });
}
