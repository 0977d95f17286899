import type { HostVolume } from "#ports/host-request.ts";

/** What a front (NBD, later iSCSI) may offer to hosts at this moment, by name `GROUP/VOLUME`. */
export type Exports = {
  /** Every export of this site by name, also those it must refuse now. */
  list(): readonly ExportInfo[];
  /** The volume, or why it cannot be had here, in words for the host's administrator. */
  find(name: string): ExportFound;
  /**
   * Tells the front that a group's volumes are gone (demoted, split brain, stopping): the front ends their connections.
   * One listener per front.
   */
  onDrop(listener: (group: string) => void): void;
};

export type ExportInfo = {
  readonly name: string;
  readonly bytes: number;
  readonly served: boolean;
};

export type ExportFound =
  | { readonly kind: "served"; readonly volume: HostVolume }
  | { readonly kind: "refused"; readonly why: string }
  | { readonly kind: "unknown" };
