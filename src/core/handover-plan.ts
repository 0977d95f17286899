import { limits } from "#base/limits.ts";
import { generationCounter } from "./history.ts";
import { awaitsResume, keepsLog, shownState, takesSets } from "./member-state.ts";
import type { Member, Primary } from "./primary-state.ts";

export type SwitchoverPlan = {
  /** `refuse`: it cannot be done without loss. */
  readonly verdict: "go" | "refuse" | "usage";
  readonly lines: readonly string[];
  readonly refusal: string;
  readonly hint: string;
  /** The successor; undefined when the site has the role already. */
  readonly member: Member | undefined;
};

type Asked = {
  /** Where the primary is. */
  readonly site: string;
  readonly group: string;
  readonly to: string;
  readonly timeoutMs: number;
};

/** Who has the role now and afterwards, what each site does for that, and that nothing is lost; or why it cannot be done. */
export function planSwitchover(primary: Primary, asked: Asked): SwitchoverPlan {
  const { site, group, to } = asked;
  if (to === site) return go([`${to} is the primary of ${group} already`], undefined);
  const member = primary.members.find((candidate) => candidate.site === to);
  if (member === undefined) {
    const known = primary.members.map((candidate) => candidate.site).join(", ");
    return no("usage", [`${group} has no copy at ${to}`, `its copies are: ${known || "none"}`]);
  }
  if (keepsLog(member))
    return no("refuse", [
      `${to} is a bunker: it keeps the log of ${group}, and no volume to serve`,
      "name a copy",
    ]);
  if (primary.stage !== "serving")
    return no("refuse", [`${site} does not serve ${group} now: ${primary.why}`, why(group)]);
  const failed = primary.volumes.find(({ state }) => state !== "ok");
  if (failed !== undefined)
    return no("refuse", [
      `volume ${failed.name} has failed at ${site}, so ${to} may lack what was written to it`,
      `antipode repair ${group} --volume ${failed.name}`,
    ]);
  const state = shownState(member);
  if (member.stage !== "synchronized")
    return no("refuse", [`${to} is ${state}, and lacks writes`, helpFor(group, member, state)]);
  const generation = generationCounter(primary.record.history);
  if (primary.record.history.length >= limits.generationsMax)
    return no("refuse", [
      `the group has been through ${generation} generations, the most that can be told apart`,
      "make a new group from this image",
    ]);
  return go([...mainLines(primary, member, asked), ...otherLines(primary, member)], member);
}

function mainLines(primary: Primary, member: Member, { site, to, timeoutMs }: Asked): string[] {
  const generation = generationCounter(primary.record.history);
  const lsn = primary.nextLsn - 1;
  const behind = takesSets(member) ? Math.max(0, lsn - member.sets.completeLsn) : 0;
  return [
    `${site} has the role in generation ${generation}, at LSN ${lsn}; afterwards ${to} has it, in generation ${generation + 1}`,
    behind === 0
      ? `${to} has everything that was acked`
      : `${to} lacks ${behind} writes, and gets them first`,
    `hosts of ${site} wait at most ${timeoutMs / 1000} s; then they are served at ${to}, or at ${site} as before`,
    `nothing is lost; ${site} becomes a copy of ${to}`,
  ];
}

function otherLines(primary: Primary, successor: Member): string[] {
  return primary.members
    .filter((member) => member !== successor)
    .map((member) =>
      member.stage === "synchronized"
        ? `${member.site} is a copy of ${successor.site} from then on`
        : `${member.site} is ${shownState(member)}: ${successor.site} brings it up`,
    );
}

function helpFor(group: string, member: Member, state: string): string {
  const to = member.site;
  const resume = `antipode resume ${group} --copy ${to}`;
  switch (state) {
    case "paused":
      return resume;
    case "split-brain":
    case "stopped":
      return why(group);
    default:
      if (member.stage === "none" && awaitsResume(member)) return resume;
      return `antipode failback ${group} --to ${to} waits until it has everything`;
  }
}

function why(group: string): string {
  return `antipode why ${group}`;
}

function go(lines: readonly string[], member: Member | undefined): SwitchoverPlan {
  return { verdict: "go", lines, refusal: "", hint: "", member };
}

function no(
  verdict: "refuse" | "usage",
  [refusal, hint]: readonly [string, string],
): SwitchoverPlan {
  return { verdict, lines: [], refusal, hint, member: undefined };
}
