import { overflowsInMs } from "#core/forecast.ts";
import { fullBytes, roomBytesMax } from "#core/journal.ts";
import type { Journal } from "#core/journal.ts";
import { isDrained } from "#core/gateway.ts";
import { whyHeldUp } from "#core/held-up.ts";
import { generationCounter } from "#core/history.ts";
import { writesHeldUp } from "#core/order.ts";
import type { Role } from "#core/states.ts";
import type { BunkerAtHand, GroupStatus, SplitStatus, VolumeStatus } from "./api.ts";
import { bytesAfter } from "./journal-run.ts";
import { configurationStatus } from "./configuration.ts";
import { autoReplayStatus } from "./auto-replay.ts";
import { bunkerStatus } from "./bunker-status.ts";
import { bunkersOf } from "./group-config.ts";
import { knownRecord, primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { primaryTrouble } from "./own-link.ts";
import { ownLsns } from "./own-lsns.ts";
import { isFeederSilent } from "./primary-silence.ts";
import { hasFailedHere } from "./refusals.ts";
import { splitsOf } from "./split.ts";
import type { Split } from "./split.ts";
import { memberStatus } from "./member-status.ts";
import { ownStatus } from "./own-status.ts";

// What `status` says of a group; the elements of `copies` come from the files of those who know them. Never better than
// what is known.

/** What this site knows of the group, whatever its part in it. */
export function groupStatus(group: Group): GroupStatus {
  const record = knownRecord(group);
  const primary = group.run?.primary;
  const splits = splitsOf(group);
  const bunkers = bunkersAtHand(group);
  return {
    name: group.name,
    role: roleOf(group),
    generation: generationCounter(record.history),
    primary: primaryOf(group),
    durability: group.config.durability,
    serving: primary?.stage === "serving",
    ...(hasFailedHere(group) ? { hasFailed: true as const } : {}),
    ...whyNoWrites(group),
    lsn: primary === undefined ? heldLsn(group) : primary.nextLsn - 1,
    set:
      primary?.journal === undefined
        ? (group.bunker?.bunker.end.set ?? group.copy?.staging?.staging.applied.set ?? 0)
        : primary.journal.set - 1,
    volumes:
      record.role === "bunker"
        ? []
        : group.config.volumes.map((volume, index) => volumeStatus(group, volume, index)),
    journal: {
      bytesUsed: primary?.journal?.bytesUsed ?? 0,
      bytesMax: primary?.journal === undefined ? 0 : roomBytesMax(primary.journal),
      diskFull: primary?.journal?.disk?.why ?? "",
      stalledWrites: primary?.held.length ?? 0,
      ...paceStatus(primary?.journal),
    },
    copies:
      primary === undefined
        ? [group.bunker === undefined ? ownStatus(group) : bunkerStatus(group, group.bunker)]
        : primary.members.map((member) => memberStatus(group, primary, member)),
    configuration: configurationStatus(group),
    openGranules: primary?.openGranules ?? openGranulesOf(group),
    requestsInFlight: primary?.inFlight ?? 0,
    ...(splits.length === 0 ? {} : { splits: splits.map(splitStatus) }),
    ...(bunkers.length === 0 ? {} : { bunkers }),
    ...autoReplay(group),
    ...primaryFailure(group),
  };
}

/** Why hosts get no answers, or cannot write: the words are made of the data, lest people and programs be told two things. */
function whyNoWrites(group: Group): Pick<GroupStatus, "why" | "writesHeldUp"> {
  const primary = group.run?.primary;
  const why = group.failedWhy || (primary?.why ?? "");
  const heldUp = why === "" && primary !== undefined ? writesHeldUp(primary) : undefined;
  if (heldUp === undefined) return { why };
  const isServing = primary?.stage === "serving";
  return { why: whyHeldUp(heldUp), ...(isServing ? { writesHeldUp: heldUp } : {}) };
}

/** A primary in front of devices is a gateway: the replication is its own, and none of it in the store (A7). */
function roleOf(group: Group): Role {
  const { role } = knownRecord(group);
  const isGateway = group.gateways.some((gateway) => gateway !== undefined);
  return role === "primary" && isGateway ? "gateway" : role;
}

function bunkersAtHand(group: Group): BunkerAtHand[] {
  const { copy, config, context, replay } = group;
  const isFed = copy?.fedBy() !== undefined && !isFeederSilent(group);
  if (copy?.staging === undefined || isFed || replay !== undefined) return [];
  const { replayed } = context.store.record;
  const isWhole = replayed?.isCancelled !== true && (replayed?.lsn ?? 0) >= (replayed?.endLsn ?? 1);
  return bunkersOf(config).map((site) => ({
    site,
    answers: context.inquiries.of(site).isUp,
    isReplayed: isWhole && replayed?.from === site,
  }));
}

function autoReplay(group: Group): Pick<GroupStatus, "autoReplay"> {
  const known = autoReplayStatus(group);
  if (known === undefined) return {};
  const { from, inMs, why } = known;
  return { autoReplay: { from, inSeconds: inMs === undefined ? null : inMs / 1000, why } };
}

function primaryFailure(group: Group): Pick<GroupStatus, "primaryFailure"> {
  const failed = group.run === undefined ? primaryTrouble(group) : "";
  if ((group.primaryFailure === undefined && failed === "") || group.run !== undefined) return {};
  const { site = primaryOf(group), nodeWhy, volumes = [] } = group.primaryFailure ?? {};
  return {
    primaryFailure: {
      site,
      volumes,
      ...(nodeWhy === undefined ? {} : { node: nodeWhy }),
      ...(failed === "" ? {} : { failed }),
    },
  };
}

function splitStatus({ site, wrote, theirs }: Split): SplitStatus {
  return { site, wroteHere: wrote, ...(theirs === undefined ? {} : { wroteThere: theirs }) };
}

// At a bunker, the last that its log has.
function heldLsn(group: Group): number {
  return group.bunker?.bunker.end.lsn ?? ownLsns(group).applied;
}

function openGranulesOf(group: Group): number {
  let granules = 0;
  for (const volume of group.copy?.copy.volumes ?? []) granules += volume.open.size;
  return granules;
}

function volumeStatus(
  group: Group,
  volume: { readonly name: string; readonly bytes: number },
  index: number,
): VolumeStatus {
  const own = group.run?.primary.volumes[index];
  const state = own === undefined ? "readonly" : own.state;
  return { name: volume.name, bytes: volume.bytes, state, uri: "", ...deviceStatus(group, index) };
}

function deviceStatus({ gateways, journal }: Group, index: number): Partial<VolumeStatus> {
  const gateway = gateways[index]?.gateway;
  if (gateway === undefined) return {};
  const { address, isUp, why, flushedLsn } = gateway;
  const isBehind = journal !== undefined && !isDrained(gateway);
  return {
    device: address,
    link: isUp ? "up" : "device-down",
    why,
    deviceLagBytes: isBehind ? bytesAfter(journal, flushedLsn) : 0,
  };
}

function paceStatus(
  journal: Journal | undefined,
): Pick<GroupStatus["journal"], "isPacing" | "overflowSeconds"> {
  if (journal === undefined) return { isPacing: false, overflowSeconds: null };
  const { forecast, bytesUsed: usedBytes } = journal;
  const inMs = overflowsInMs(forecast, { fullBytes: fullBytes(journal), usedBytes });
  const isPacing = Number.isFinite(journal.pace.allowanceBytes);
  return { isPacing, overflowSeconds: inMs === undefined ? null : Math.round(inMs) / 1000 };
}
