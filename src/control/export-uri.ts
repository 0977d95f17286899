import { parseAddress } from "#config/addresses.ts";
import { isPrimaryRole } from "#site/api.ts";
import type { SiteStatus } from "#site/api.ts";

/**
 * The status with the URIs that hosts connect to. The engine knows volumes and roles; where the exports listen is known
 * only where the site was put together. A volume that is not served here has none.
 */
export function withUris(status: SiteStatus, nbdAddresses: readonly string[]): SiteStatus {
  const [address] = nbdAddresses;
  if (address === undefined) return status;
  return {
    ...status,
    groups: status.groups.map((group) =>
      isPrimaryRole(group.role)
        ? {
            ...group,
            volumes: group.volumes.map((volume) => ({
              ...volume,
              uri: exportUri(address, `${group.name}/${volume.name}`),
            })),
          }
        : group,
    ),
  };
}

/** The address of an export as NBD clients write it (NBD project, doc/uri.md). Names of ours need no escapes. */
export function exportUri(address: string, name: string): string {
  const parsed = parseAddress(address);
  if (parsed.ok && parsed.address.kind === "unix") {
    const socket = parsed.address.path.split("/").map(encodeURIComponent).join("/");
    return `nbd+unix:///${name}?socket=${socket}`;
  }
  return `nbd://${address}/${name}`;
}
