import type { GroupRecord } from "#core/group-record.ts";

type Known = Pick<GroupRecord, "cluster" | "group" | "site" | "regionBytes" | "role" | "volumes">;

/** Why the record that a folder holds is not the one that the configuration means; undefined where it is. */
export function mismatchOf(record: Known, fresh: Known): string | undefined {
  if (record.cluster !== fresh.cluster) {
    return `this folder belongs to the cluster "${record.cluster}", the configuration is of "${fresh.cluster}"`;
  }
  if (record.group !== fresh.group || record.site !== fresh.site) {
    return `this folder holds group "${record.group}" of site "${record.site}"`;
  }
  if (record.regionBytes !== fresh.regionBytes) {
    return `the group was made with regions of ${record.regionBytes} bytes, the configuration says ${fresh.regionBytes}`;
  }
  if ((record.role === "bunker") !== (fresh.role === "bunker")) {
    return record.role === "bunker"
      ? "this folder holds the log of a bunker, the configuration wants volumes there"
      : "this folder holds volumes, the configuration wants a bunker there";
  }
  // Their sizes may differ: what is on record may have grown.
  const was = record.volumes.map(({ name }) => name).join(" ");
  const now = fresh.volumes.map(({ name }) => name).join(" ");
  if (was !== now) return `the group was made with volumes ${was}, the configuration says ${now}`;
  return undefined;
}
