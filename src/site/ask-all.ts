import type { Group } from "./group.ts";

/** Asks every other site of the group, each of which may know more than this one by now. `done` gets those that answer. */
export function askAll(group: Group, done: (answering: ReadonlySet<string>) => void): void {
  const sites = otherSites(group);
  const answering = new Set<string>();
  let missing = sites.length;
  if (missing === 0) return done(answering);
  for (const site of sites) {
    group.context.inquiries.ask(site, (answers) => {
      if (answers) answering.add(site);
      missing -= 1;
      if (missing === 0) done(answering);
    });
  }
}

/** Sites that have, or had, a part in the group. */
export function otherSites(group: Group): string[] {
  const sites = new Set([group.config.primary, ...group.config.copies.keys()]);
  sites.delete(group.context.site);
  return [...sites];
}
