import type { Address } from "./addresses.ts";
import { isLocal, isWildcard, onOneMachine, overlaps, parseAddress } from "./addresses.ts";
import type { Place } from "./locate.ts";
import { formatPlace } from "./locate.ts";
import type { PlacedProblem } from "./shape.ts";
import type { Config, GroupConfig, SiteConfig } from "./types.ts";

// Rules about where sites listen and where they keep things. They work on the built configuration, where paths are
// absolute.

/** An address of the file with its place and the site that listens there or dials it. */
type Listed = {
  readonly place: Place;
  readonly site: string;
  readonly use: "peer" | "api" | "nbd" | "reach";
  readonly address: Address;
};

type Addresses = {
  readonly listed: readonly Listed[];
  readonly problems: readonly PlacedProblem[];
};

/** Addresses that cannot be, overlap, or are open to strangers; paths that two things would share. */
export function checkPlaces(config: Config): readonly PlacedProblem[] {
  const { listed, problems } = readAddresses(config);
  // Two sites are taken to share a machine only if both peer addresses could be read.
  const peers = new Map(
    listed.filter(({ use }) => use === "peer").map((entry) => [entry.site, entry.address]),
  );
  const together = (a: string, b: string): boolean => {
    const [peerA, peerB] = [peers.get(a), peers.get(b)];
    return a === b || (peerA !== undefined && peerB !== undefined && onOneMachine(peerA, peerB));
  };
  return [
    ...problems,
    ...checkOverlaps(listed, together),
    ...checkStrangers(config, listed),
    ...checkDialable(config, listed),
    ...checkData(config, together),
    ...checkImages(config, together),
    ...checkPathBunkers(config),
  ];
}

function readAddresses(config: Config): Addresses {
  const listed: Listed[] = [];
  const problems: PlacedProblem[] = [];
  const read = (place: Place, site: string, use: Listed["use"], text: string): void => {
    const parsed = parseAddress(text);
    if (parsed.ok) listed.push({ place, site, use, address: parsed.address });
    else problems.push({ place, reason: parsed.reason, hint: parsed.hint });
  };
  for (const site of config.sites.values()) {
    const place = ["sites", site.name];
    read([...place, "peer"], site.name, "peer", site.peer);
    read([...place, "api"], site.name, "api", site.api);
    site.nbd.forEach((text, index) => read([...place, "nbd", index], site.name, "nbd", text));
    for (const [peer, text] of site.reach)
      read([...place, "reach", peer], site.name, "reach", text);
  }
  return { listed, problems };
}

function checkOverlaps(
  listed: readonly Listed[],
  together: (a: string, b: string) => boolean,
): readonly PlacedProblem[] {
  const listening = listed.filter(({ use }) => use !== "reach");
  return listening.flatMap((later, index) => {
    const earlier = listening
      .slice(0, index)
      .find((other) => together(other.site, later.site) && overlaps(other.address, later.address));
    if (earlier === undefined) return [];
    return [
      {
        place: later.place,
        reason: `the address is taken by ${formatPlace(earlier.place)}`,
        hint: "give each its own port or socket",
      },
    ];
  });
}

/** What may be reached from beyond this machine (INTERFACE, `secret`), and what must not be yet. */
function checkStrangers(config: Config, listed: readonly Listed[]): readonly PlacedProblem[] {
  return listed.flatMap(({ place, use, address }) => {
    if (isLocal(address)) return [];
    if (use === "api") {
      const reason = "the API has no tokens yet and would obey anybody who reaches it";
      return [
        { place, reason, hint: "use a loopback address or unix:/path; from elsewhere come by ssh" },
      ];
    }
    if (config.insecure || config.secretPath !== undefined) return [];
    const reason = "the address is not on loopback and the sites share no secret";
    const hint =
      "add secret: ./antipode.secret (head -c 32 /dev/urandom > antipode.secret), or insecure: true";
    return [{ place, reason, hint }];
  });
}

function checkDialable(config: Config, listed: readonly Listed[]): readonly PlacedProblem[] {
  return listed.flatMap(({ place, site, use, address }) => {
    if (!isWildcard(address)) return [];
    const others = [...config.sites.values()].filter(({ name }) => name !== site);
    const lost = others.find(({ reach }) => !reach.has(site));
    if (use === "peer" && lost !== undefined) {
      const reason = `site ${lost.name} cannot dial an address that stands for every interface`;
      return [
        {
          place,
          reason,
          hint: `write the one to dial, or reach: { ${site}: HOST:PORT } at ${lost.name}`,
        },
      ];
    }
    if (use !== "reach") return [];
    const reason = "an address that stands for every interface cannot be dialled";
    return [{ place, reason, hint: "write the address of one interface" }];
  });
}

function checkData(
  config: Config,
  together: (a: string, b: string) => boolean,
): readonly PlacedProblem[] {
  const sites = [...config.sites.values()];
  return sites.flatMap((later, index) => {
    const earlier = sites
      .slice(0, index)
      .find((other) => together(other.name, later.name) && nested(other.data, later.data));
    if (earlier === undefined) return [];
    return [
      {
        place: ["sites", later.name, "data"],
        reason: `site ${earlier.name} on the same machine keeps its data in ${earlier.data}`,
        hint: "give each site a folder of its own, neither inside the other",
      },
    ];
  });
}

// Any site may be the primary, or bring its copy up, and the log's folder has names that a group's own folder has too.
function checkPathBunkers(config: Config): readonly PlacedProblem[] {
  return [...config.groups.values()].flatMap(({ name, bunkerPath }) => {
    const place = ["groups", name, "journal", "mirror"];
    const hint = "name a folder of its own, beside the sites' data";
    return [...config.sites.values()]
      .filter(({ data }) => bunkerPath !== undefined && nested(data, bunkerPath))
      .slice(0, 1)
      .map((site) => ({ place, reason: `site ${site.name} keeps its data in ${site.data}`, hint }));
  });
}

function nested(a: string, b: string): boolean {
  const [outer, inner] = a.length <= b.length ? [a, b] : [b, a];
  return inner === outer || inner.startsWith(outer.endsWith("/") ? outer : `${outer}/`);
}

type Image = {
  readonly place: Place;
  readonly site: string;
  readonly path: string;
  readonly label: string;
  /** In the site's data folder, not at a place of its own. */
  readonly isDefault: boolean;
};

/** No two volumes may lie in one image, and no volume where a site keeps something else. */
function checkImages(
  config: Config,
  together: (a: string, b: string) => boolean,
): readonly PlacedProblem[] {
  const images = [...config.groups.values()].flatMap((group) =>
    [...config.sites.values()]
      .filter((site) => site.name === group.primary || group.copies.has(site.name))
      .flatMap((site) => imagesAt(group, site)),
  );
  const byPath = new Map<string, Image[]>();
  return images.flatMap((later) => {
    const sharing = byPath.get(later.path) ?? [];
    byPath.set(later.path, [...sharing, later]);
    const earlier = sharing.find((other) => together(other.site, later.site));
    if (earlier === undefined) return [];
    // Two sites with one data folder share every image in it; that folder is the problem, told by checkData.
    if (earlier.isDefault && later.isDefault && earlier.site !== later.site) return [];
    return [
      {
        place: later.place,
        reason: `${later.path} is already the image of ${earlier.label} at site ${earlier.site}`,
        hint: "give each volume a file or device of its own",
      },
    ];
  });
}

function imagesAt(group: GroupConfig, site: SiteConfig): readonly Image[] {
  return group.volumes.map(({ name, at }) => ({
    place: ["groups", group.name, "volumes", name, ...(at.has(site.name) ? ["at", site.name] : [])],
    site: site.name,
    path: imagePath(site, group.name, { name, at }),
    label: `${group.name}/${name}`,
    isDefault: !at.has(site.name),
  }));
}

/** Where a volume's image lies at a site: its own place, or `<data>/<group>/<volume>.img` (INTERFACE). */
export function imagePath(
  site: SiteConfig,
  group: string,
  volume: { readonly name: string; readonly at: ReadonlyMap<string, string> },
): string {
  return volume.at.get(site.name) ?? `${site.data}/${group}/${volume.name}.img`;
}
