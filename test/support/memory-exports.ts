import type { Exports } from "#ports/exports.ts";
import type { HostVolume } from "#ports/host-request.ts";

/** Exports for tests of a front: volumes by name, names refused with a reason, and groups that can be dropped. */
export type MemoryExports = Exports & {
  readonly served: Map<string, HostVolume>;
  readonly refused: Map<string, string>;
  drop(group: string): void;
};

/** Offers the volumes as `GROUP/VOLUME`. */
export function createMemoryExports(volumes: readonly HostVolume[]): MemoryExports {
  const served = new Map(volumes.map((volume) => [`${volume.group}/${volume.name}`, volume]));
  const refused = new Map<string, string>();
  let listener: (group: string) => void = () => undefined;
  return {
    served,
    refused,
    list: () => [
      ...Array.from(served, ([name, { bytes }]) => ({ name, bytes, served: true })),
      ...Array.from(refused.keys(), (name) => ({ name, bytes: 0, served: false })),
    ],
    find(name) {
      const volume = served.get(name);
      if (volume !== undefined) return { kind: "served", volume };
      const why = refused.get(name);
      return why === undefined ? { kind: "unknown" } : { kind: "refused", why };
    },
    onDrop(drop) {
      listener = drop;
    },
    drop(group) {
      for (const [name, volume] of served) {
        if (volume.group !== group) continue;
        served.delete(name);
        refused.set(name, `group ${group} is no longer primary here`);
      }
      listener(group);
    },
  };
}
