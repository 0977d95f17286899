// The second log of a group's journal (`journal: { mirror: PATH }`) is a member of the group like a bunker, without a process
// of its own: whoever needs it opens it on its path (SPEC-bunker.md). These are the names that it goes by.

const prefix = "mirror:";
const scheme = "log:";

/** What the group's path bunker is called as a member. No site can have such a name. */
export function pathBunkerOf(group: string): string {
  return `${prefix}${group}`;
}

/** The group whose path bunker has this name; undefined for a site. */
export function groupOfPathBunker(site: string): string | undefined {
  return site.startsWith(prefix) ? site.slice(prefix.length) : undefined;
}

/** The log of a group on a path, as an address to be dialled: this process answers it by itself. */
export type LogAddress = { readonly group: string; readonly path: string };

export function logAddress({ group, path }: LogAddress): string {
  return `${scheme}${group}:${path}`;
}

export function parseLogAddress(address: string): LogAddress | undefined {
  if (!address.startsWith(scheme)) return undefined;
  const [group = "", ...path] = address.slice(scheme.length).split(":");
  return { group, path: path.join(":") };
}
