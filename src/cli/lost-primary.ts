import type { GroupStatus } from "#site/api.ts";

/** What helps at a site that is not the primary, while that one is out of reach. */
export function helpWithoutPrimary(group: GroupStatus, site: string): string {
  const { name, primary } = group;
  const own = waitFor(group, site);
  const back = `${own}antipode serve --site ${primary} (on its machine), or mend the network to it`;
  return `${back}; if ${primary} is lost for good: ${takeoverOf(group, site) ?? `antipode promote ${name} --site ${site} --dry-run says what a takeover would cost`}`;
}

/** The way to a takeover that loses nothing which a bunker's log has; undefined where the group has no bunker. */
export function takeoverOf(group: GroupStatus, site: string): string | undefined {
  const { name, role, bunkers = [] } = group;
  const promote = `antipode promote ${name} --site ${site}`;
  if (role === "bunker")
    return `antipode replay ${name} --from ${site} --site COPY, then antipode promote ${name} --site COPY`;
  const replayed = bunkers.find(({ isReplayed }) => isReplayed);
  if (replayed !== undefined)
    return `${promote} (the log of ${replayed.site} has been replayed here)`;
  const [first] = bunkers;
  if (first === undefined) return undefined;
  const { site: from } = bunkers.find(({ answers }) => answers) ?? first;
  const replay = `antipode replay ${name} --from ${from} --site ${site}, then ${promote}`;
  return bunkers.some(({ answers }) => answers)
    ? `${replay} (${from} keeps the log, and answers)`
    : `bring ${from} back first, which keeps the log and does not answer: ${replay}`;
}

/** That a replay begins by itself, or why it does not; undefined where none is to. */
export function describeAutoReplay({ autoReplay }: GroupStatus, nowMs: number): string | undefined {
  if (autoReplay === undefined) return undefined;
  const { from, inSeconds, why } = autoReplay;
  if (inSeconds === null) return `no replay from ${from} begins by itself: ${why}`;
  const at = new Date(nowMs + inSeconds * 1000).toISOString();
  const before = why === "" ? "" : ` (the last one came to nothing: ${why})`;
  return `a replay from ${from} begins by itself in ${Math.ceil(inSeconds)}s, at ${at}${before}`;
}

function waitFor(group: GroupStatus, site: string): string {
  const { autoReplay, name } = group;
  const words = describeAutoReplay(group, Date.now());
  if (autoReplay === undefined || words === undefined) return "";
  const stop = `; antipode replay ${name} --cancel --from ${autoReplay.from} --site ${site} stops that`;
  return `${words}${autoReplay.inSeconds === null ? "" : stop}; `;
}
