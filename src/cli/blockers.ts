import { groupOfPathBunker } from "#base/path-bunker.ts";
import { formatSize } from "#config/units.ts";
import { describeWrote } from "#core/discard.ts";
import { whatHappens } from "#core/held-up.ts";
import { isPrimaryRole } from "#site/api.ts";
import type { CopyStatus, GroupStatus, VolumeStatus } from "#site/api.ts";
import { isCutOff } from "./loss.ts";
import { helpWithoutPrimary } from "./lost-primary.ts";

/** Something that keeps a group from its best state: what, what it waits for, and the command that helps. */
export type Blocker = {
  readonly what: string;
  readonly waitsFor: string;
  /** A command line, or plain advice where no command helps. */
  readonly help: string;
};

/** Everything that keeps the group from its best state, the worst first; empty when nothing does. */
export function findBlockers(group: GroupStatus, site: string): readonly Blocker[] {
  // Nobody is fed by it, and nothing that is said of copies helps before it runs again.
  if (group.hasFailed === true) return [failedHere(group, site)];
  return [
    ...roleBlockers(group, site),
    ...fullDisk(group, site),
    ...fullJournal(group, site),
    ...strictCopy(group, site),
    ...failedAtPrimary(group, site),
    ...group.volumes
      .filter(({ state }) => state === "failed")
      .map(({ name }) => failedVolume(group.name, name, site)),
    ...group.volumes.flatMap((volume) => deviceBlocker(volume) ?? []),
    ...group.copies.flatMap((copy) => copyBlocker(group, copy, site) ?? []),
    ...paceBlockers(group),
  ];
}

// Hosts feel it: whoever looks after them wants to know why, though no copy is lost.
function paceBlockers({ name, journal, copies }: GroupStatus): readonly Blocker[] {
  if (!journal.isPacing) return [];
  const { bytesUsed, bytesMax } = journal;
  const [slowest] = copies.toSorted((a, b) => b.lagBytes - a.lagBytes);
  return [
    {
      what: `hosts of ${name} are slowed down: ${formatSize(bytesUsed)} of ${formatSize(bytesMax)} of journal are used`,
      waitsFor: `copy ${slowest?.site ?? ""} to take what it lacks (${formatSize(slowest?.lagBytes ?? 0)})`,
      help: "a faster link, or hosts that write less; journal.overflow: trip gives the copy up instead, and resyncs it later",
    },
  ];
}

function deviceBlocker({
  name,
  device,
  link,
  why,
  deviceLagBytes,
}: VolumeStatus): Blocker | undefined {
  if (device === undefined || link === "up") return undefined;
  const lag = formatSize(deviceLagBytes ?? 0);
  return {
    what: `the device of ${name} is away: up to ${lag} that hosts wrote are in the journal alone`,
    waitsFor: waits(`${device} to answer`, why ?? ""),
    help: "bring the device or the way to it back; what it lacks is written by itself",
  };
}

function failedHere({ name, why }: GroupStatus, site: string, takeover?: string): Blocker {
  const isFull = /ENOSPC|EDQUOT/.test(why);
  const mend = isFull ? `free some space or quota (df at ${site})` : "mend what is named here";
  return {
    what: `hosts of ${name} get no answers at ${site}, and no copy is fed: the group has failed there`,
    waitsFor: waits(`what failed to be mended, and site ${site} to be started again`, why),
    help:
      `${mend}, then stop site ${site} and start it again; if that takes too long, leave it stopped: ` +
      (takeover ??
        `antipode promote ${name} --site COPY --dry-run says what a takeover would cost`),
  };
}

function roleBlockers(group: GroupStatus, site: string): readonly Blocker[] {
  const { name } = group;
  // A split brain is to be settled first: the other side serves hosts, or is to be heard.
  if (group.role === "demoted" && (group.splits ?? []).length === 0) {
    return [
      {
        what: `${name} is demoted at ${site}: no host is served here`,
        waitsFor: waits("a site to become primary", group.why),
        help: `antipode promote ${name} --site ${site}, or at the site that shall have it`,
      },
    ];
  }
  if (isPrimaryRole(group.role) && !group.serving) {
    const [, successor] = /the role was offered to (\S+),/.exec(group.why) ?? [];
    if (successor !== undefined) return [offered(group, successor, site)];
    return [
      {
        what: `hosts of ${name} get no answers at ${site}`,
        waitsFor: waits("the site to finish its start", group.why),
        help: `antipode wait ${name} --site ${site}`,
      },
    ];
  }
  return [];
}

function offered({ name, why }: GroupStatus, successor: string, site: string): Blocker {
  return {
    what: `hosts of ${name} get no answers at ${site}`,
    waitsFor: waits(`the word of ${successor}`, why),
    help:
      `bring ${successor} or the link to it back, and both settle it; ` +
      `if ${successor} is lost for good: antipode promote ${name} --site ${site} --force`,
  };
}

// What to do about a copy that lacks it stands with the copy.
function fullJournal(group: GroupStatus, site: string): Blocker[] {
  const { name, why, copies, writesHeldUp: heldUp } = group;
  if (heldUp?.by !== "journal") return [];
  const volume = heldUp.keptFor === "failed-volume" ? heldUp.volume : undefined;
  const copy = copies.find(({ image }) => image !== "none")?.site ?? "COPY";
  const takeover = `antipode demote ${name} --site ${site}, then antipode promote ${name} --site ${copy}`;
  return [
    {
      what: `hosts of ${name} cannot write at ${site}`,
      waitsFor: waits("room in the journal", why),
      help:
        volume === undefined
          ? `antipode wait ${name} --site ${site}; a copy that lacks what is kept is named here, too`
          : `antipode repair ${name} --volume ${volume} --site ${site}; where that is refused, ${takeover}`,
    },
  ];
}

// What is the matter with it stands with the copy; here is what hosts get of it.
function strictCopy({ name, writesHeldUp: heldUp }: GroupStatus, site: string): Blocker[] {
  if (heldUp?.by !== "copy") return [];
  const { copy, onLoss } = heldUp;
  return [
    {
      what: `hosts of ${name} cannot write at ${site}: ${whatHappens(heldUp)}`,
      waitsFor: `copy ${copy} to be back, as onLoss: ${onLoss} of it asks`,
      help:
        `bring ${copy} or the link to it back; to go on without it, at the price that only ${site} has what is written ` +
        `from then on: antipode pause ${name} --copy ${copy}`,
    },
  ];
}

/** Hosts may not feel it yet, or may have paid for it with a copy: it is to be mended all the same. */
function fullDisk({ name, journal, writesHeldUp }: GroupStatus, site: string): Blocker[] {
  const { diskFull } = journal;
  if (diskFull === undefined || diskFull === "") return [];
  const isFelt = writesHeldUp?.by === "disk";
  return [
    {
      what: isFelt
        ? `hosts of ${name} cannot write at ${site}: the disk under its journal is full`
        : `the disk under the journal of ${name} at ${site} is full; hosts still write`,
      waitsFor: `room in the data folder of ${site} (${diskFull})`,
      help: `free some space or quota there (df at ${site}); it goes on by itself, and nothing needs to be restarted`,
    },
  ];
}

function failedAtPrimary(group: GroupStatus, at: string): readonly Blocker[] {
  const { name, copies, primaryFailure } = group;
  if (primaryFailure === undefined) return [];
  const { site, node, volumes } = primaryFailure;
  const isBunker = copies.some(({ mode }) => mode === "bunker");
  const takeover = isBunker
    ? `antipode replay ${name} --from ${at} --site COPY --dry-run to see what it would bring to a copy`
    : `antipode promote ${name} --site ${at} --dry-run to see what a takeover would cost`;
  if (primaryFailure.failed !== undefined)
    return [failedHere({ ...group, why: primaryFailure.failed }, site, takeover)];
  const failed = volumes.map((volume) => failedVolume(name, volume, site));
  // A copy that has noticed the loss of its session tells of it, too, and for how long.
  if (node === undefined || copies.some((copy) => copyBlocker(group, copy, at) !== undefined))
    return failed;
  return [
    {
      what: `${site}, the primary of ${name}, does not answer`,
      waitsFor: waits(`site ${site} to run and be reached`, node),
      help: `antipode serve --site ${site} (on its machine), or ${takeover}`,
    },
    ...failed,
  ];
}

function failedVolume(group: string, volume: string, site: string): Blocker {
  return {
    what: `volume ${group}/${volume} failed at ${site}`,
    waitsFor: "its file or device to work again",
    help: `antipode repair ${group} --volume ${volume} --site ${site}`,
  };
}

function copyBlocker(group: GroupStatus, copy: CopyStatus, site: string): Blocker | undefined {
  const subject = `copy ${copy.site} of ${group.name}`;
  const command = `${group.name} --copy ${copy.site}`;
  switch (copy.state) {
    case "synchronized":
    case "streaming":
      return undefined;
    case "init-sync":
    case "resync":
    case "replaying":
      // Nothing but a replay fills it while the other site does not answer: that is what is to be mended.
      if (isCutOff(copy) && copy.state !== "replaying") return lostCopy(group, copy, site);
      return {
        what: `${subject} is being filled (${copy.state}), ${formatSize(lackedBytes(copy))} to go`,
        waitsFor: waits("the copying to end", copy.why),
        help: `antipode wait ${command}`,
      };
    case "paused":
      return {
        what: `${subject} is paused`,
        waitsFor: waits("an operator", copy.why),
        help: `antipode resume ${command}`,
      };
    case "split-brain":
      return splitBrain(group, copy, site);
    case "fractured":
    case "tripped":
    case "buffering":
    case "stopped":
      // Who gave its role up and knows of no successor waits for nobody's session: the role is what is missing.
      if (group.role === "demoted" && group.primary === site) return undefined;
      return lostCopy(group, copy, site);
  }
}

function splitBrain(group: GroupStatus, copy: CopyStatus, site: string): Blocker {
  if (copy.mode === "bunker") return splitLog(group, copy);
  // At a copy, the one element is the site itself.
  const split = group.splits?.find((one) => copy.site === site || one.site === copy.site);
  const other = split?.site ?? (copy.site === site ? group.primary : copy.site);
  const theirs =
    split?.wroteThere === undefined
      ? `${other} does not say what it wrote`
      : describeWrote(split.wroteThere, other);
  const wrote = split === undefined ? "" : `: ${describeWrote(split.wroteHere, site)}; ${theirs}`;
  return {
    what: `copy ${copy.site} of ${group.name}: split brain, both sites took writes that the other lacks${wrote}`,
    waitsFor: waits("an operator to choose whose writes are given up", copy.why),
    help: `antipode discard ${group.name} --site ${other} --dry-run, or --site ${site}: the plan says what each gives up`,
  };
}

function splitLog({ name, primary }: GroupStatus, { site, why }: CopyStatus): Blocker {
  const onPath = `once nobody needs that log, move its folder away from the path of journal.mirror, then antipode resume ${name} --copy ${site}`;
  return {
    what: `bunker ${site} of ${name}: it keeps the log of a primary that ${primary} has not followed, and takes nothing from ${primary}`,
    waitsFor: waits("an operator to give that log up", why),
    help:
      groupOfPathBunker(site) === undefined
        ? `antipode discard ${name} --site ${site} --dry-run: the plan says what is given up`
        : onPath,
  };
}

/** What is dirty, or, of a copy that takes sets, still in the journal for it. */
function lackedBytes({ dirtyBytes, lagBytes }: CopyStatus): number {
  return Math.max(dirtyBytes, lagBytes);
}

function lostCopy(group: GroupStatus, copy: CopyStatus, site: string): Blocker | undefined {
  const subject = `copy ${copy.site} of ${group.name}`;
  const lacks = `it may lack ${formatSize(lackedBytes(copy))}`;
  const what = `${subject} is ${copy.state}, ${lacks}`;
  if (groupOfPathBunker(copy.site) !== undefined)
    return {
      what,
      waitsFor: waits("the path of journal.mirror to be written again", copy.why),
      help: `look after that path at ${site} (is it there, and is there room?); the log goes on by itself, and nothing needs to be restarted`,
    };
  // At a copy, the one element is the site itself, and what it lacks is its primary.
  const far = copy.site === site ? group.primary : copy.site;
  const trouble = siteTroubles.find(({ said }) => said.test(copy.why));
  if (trouble !== undefined) {
    const { waitsFor, help } = trouble;
    return { what, waitsFor: waits(waitsFor(copy.site), copy.why), help: help(copy.site, group) };
  }
  if (copy.link !== "up") {
    return {
      what: `${what}; the link is ${copy.link}`,
      waitsFor: waits(`site ${far} to answer`, copy.why),
      help:
        copy.site === site
          ? helpWithoutPrimary(group, site)
          : `antipode serve --site ${far} (on its machine), or mend the network between ${site} and ${far}`,
    };
  }
  if (isCutOff(copy)) {
    // Who has failed, and says so, is named with what helps.
    if (group.primaryFailure?.failed !== undefined) return undefined;
    return {
      what,
      waitsFor: waits(`site ${far} to feed it`, copy.why),
      help: `antipode why ${group.name} --site ${far} says what keeps it from that`,
    };
  }
  if (/(?:reconnecting|session is being opened)$/.test(copy.why))
    return {
      what,
      waitsFor: waits("a session, which is tried by itself", copy.why),
      help: `antipode wait ${group.name} --copy ${copy.site}`,
    };
  return {
    what,
    waitsFor: waits("somebody to restart it", copy.why),
    help: `antipode resume ${group.name} --copy ${copy.site}`,
  };
}

/** What a site says of its own file or disk: no link and no command of the primary's mends that. The first match counts. */
const siteTroubles = [
  {
    said: /belongs to cluster "/,
    waitsFor: () => "both sites to be of one cluster",
    help: () =>
      "compare cluster: and the peer addresses in the files of both sites, mend the wrong one, and start that site again",
  },
  {
    said: /does not know the cluster's secret/,
    waitsFor: () => "both sites to have the same secret",
    help: () => "copy the right secret file over the other one, and start that site again",
  },
  {
    said: /^it is fed through \S+, which is/,
    waitsFor: () => "its relay to take the journal again",
    help: () =>
      "what helps the relay, named here as well, helps it; nothing needs to be done for itself",
  },
  {
    said: /not the one we fed \(blank or foreign\)$/,
    waitsFor: (at: string) => `an operator to say that the disk at ${at} may be written over`,
    help: (at: string, { name }: GroupStatus) =>
      `antipode resync ${name} --copy ${at} --full, if that disk is empty or may be lost; otherwise bring the right one back`,
  },
  {
    said: /link slower than writes/,
    waitsFor: () => "a faster link, a larger journal, or hosts that write less",
    help: (at: string, { name }: GroupStatus) =>
      `then antipode resume ${name} --copy ${at}; journal.overflow: stall slows hosts down instead`,
  },
  {
    said: /staging log cannot be used/,
    waitsFor: (at: string) => `somebody to put the staging log at ${at} aside`,
    help: (at: string, { name }: GroupStatus) =>
      `stop site ${at}, move staging-*.log out of the folder ${name} of its data folder, start it again: ` +
      "the copy is then compared throughout, and what it lacks is copied",
  },
  {
    said: /fdatasync of staging|with another log/,
    waitsFor: (at: string) => `the disk under the data folder of ${at} to sync again`,
    help: (at: string) =>
      `look after that disk of ${at}; the copy begins anew by itself, and nothing needs to be restarted`,
  },
  {
    said: /fdatasync of the log failed/,
    waitsFor: (at: string) => `the disk under the data folder of ${at}, and a restart of that site`,
    help: (at: string) => `mend that disk; then stop site ${at} and start it again`,
  },
  {
    said: /staging here cannot be written|staging log here cannot be opened|goes on once there is room/,
    waitsFor: (at: string) => `room in the data folder of ${at}`,
    help: (at: string) =>
      `free some space or quota there (df at ${at}); it goes on by itself, and nothing needs to be restarted`,
  },
  {
    said: /here.* must be started again|of the image here failed/,
    waitsFor: (at: string) => `the image at ${at} to be opened again`,
    help: (at: string) => `mend the disk of ${at}, then stop its site and start it again`,
  },
] as const;

function waits(what: string, why: string): string {
  return why === "" ? what : `${what} (${why})`;
}
