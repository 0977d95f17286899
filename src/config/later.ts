import type { RawCopy, RawFile, RawGroup } from "./schema.ts";
import type { PlacedProblem } from "./shape.ts";
import type { Place } from "./locate.ts";

// What the cluster file's language has and this version does not do yet. Each is refused by name, with what works now:
// a key that is taken and has no effect would be a promise broken in silence. A journal's size and overflow are taken
// everywhere: a group whose copies are all `sync` keeps no journal in any version.

/** Every use of a capability that a later version brings. */
export function refuseLater(file: RawFile): readonly PlacedProblem[] {
  return Object.entries(file.groups ?? {}).flatMap(([name, group]) => [
    ...laterInGroup(["groups", name], group),
    ...Object.entries(group.copies ?? {}).flatMap(([site, copy]) =>
      laterInCopy(["groups", name, "copies", site], copy),
    ),
  ]);
}

function laterInGroup(place: Place, group: RawGroup): readonly PlacedProblem[] {
  const problems: PlacedProblem[] = [];
  if (group.journal?.mirror !== undefined) {
    problems.push({
      place: [...place, "journal", "mirror"],
      reason: "a mirrored journal is not in this version",
      hint: "leave it out",
    });
  }
  for (const [name, volume] of Object.entries(group.volumes)) {
    for (const [site, path] of Object.entries(volume.at ?? {})) {
      if (!path.startsWith("nbd://") && !path.startsWith("nbd+unix://")) continue;
      problems.push({
        place: [...place, "volumes", name, "at", site],
        reason: "an NBD server cannot hold a volume in this version",
        hint: "name a file or a block device",
      });
    }
  }
  return problems;
}

function laterInCopy(place: Place, copy: RawCopy): readonly PlacedProblem[] {
  const problems: PlacedProblem[] = [];
  if (copy.mode !== "sync" && copy.mode !== "async") {
    problems.push({
      place: [...place, "mode"],
      reason: `mode ${copy.mode} is not in this version`,
      hint: "use mode: sync or mode: async",
    });
  }
  if (copy.transport !== undefined && copy.transport !== "tcp") {
    problems.push({
      place: [...place, "transport"],
      reason: `transport ${copy.transport} is not in this version`,
      hint: "use transport: tcp, or leave it out",
    });
  }
  return problems;
}
