import { formatSize } from "#config/units.ts";
import { describeWrote } from "#core/discard.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";

/** Something that keeps a group from its best state: what, what it waits for, and the command that helps. */
export type Blocker = {
  readonly what: string;
  readonly waitsFor: string;
  /** A command line, or plain advice where no command helps. */
  readonly help: string;
};

/** Everything that keeps the group from its best state, the worst first; empty when nothing does. */
export function findBlockers(group: GroupStatus, site: string): readonly Blocker[] {
  return [
    ...roleBlockers(group, site),
    ...group.volumes
      .filter(({ state }) => state === "failed")
      .map(({ name }) => failedVolume(group.name, name, site)),
    ...group.copies.flatMap((copy) => copyBlocker(group, copy, site) ?? []),
  ];
}

function roleBlockers(group: GroupStatus, site: string): readonly Blocker[] {
  const { name } = group;
  if (group.role === "demoted") {
    return [
      {
        what: `${name} is demoted at ${site}: no host is served here`,
        waitsFor: waits("a site to become primary", group.why),
        help: `antipode promote ${name} --site ${site}, or at the site that shall have it`,
      },
    ];
  }
  if (group.role === "primary" && !group.serving) {
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
      return lostCopy(group, copy, site);
  }
}

function splitBrain(group: GroupStatus, copy: CopyStatus, site: string): Blocker {
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

/** What is dirty, or, of a copy that takes sets, still in the journal for it. */
function lackedBytes({ dirtyBytes, lagBytes }: CopyStatus): number {
  return Math.max(dirtyBytes, lagBytes);
}

function lostCopy(group: GroupStatus, copy: CopyStatus, site: string): Blocker {
  const subject = `copy ${copy.site} of ${group.name}`;
  const lacks = `it may lack ${formatSize(lackedBytes(copy))}`;
  const what = `${subject} is ${copy.state}, ${lacks}`;
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
      help: `antipode serve --site ${far} (on its machine), or mend the network between ${site} and ${far}`,
    };
  }
  return {
    what,
    waitsFor: waits("somebody to restart it", copy.why),
    help: `antipode resume ${group.name} --copy ${copy.site}`,
  };
}

/** What a copy's site says of its own disk: no link and no command of the primary's mends that. The first match counts. */
const siteTroubles = [
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
    said: /staging here cannot be written|staging log here cannot be opened/,
    waitsFor: (at: string) => `room in the data folder of ${at}`,
    help: (at: string) =>
      `free some space or quota there (df at ${at}); the copy goes on by itself, and nothing needs to be restarted`,
  },
  {
    said: /image here .*must be started again|of the image here failed/,
    waitsFor: (at: string) => `the image at ${at} to be opened again`,
    help: (at: string) => `mend the disk of ${at}, then stop its site and start it again`,
  },
] as const;

function waits(what: string, why: string): string {
  return why === "" ? what : `${what} (${why})`;
}
