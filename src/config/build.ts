import { pathBunkerOf } from "#base/path-bunker.ts";
import { defaults } from "./defaults.ts";
import { isDeviceUri } from "./device-uri.ts";
import type { RawCopy, RawFile, RawGroup, RawSite, RawVolume } from "./schema.ts";
import type {
  Config,
  CopyConfig,
  GroupConfig,
  SealConfig,
  SiteConfig,
  VolumeConfig,
} from "./types.ts";

/** Makes a path of the file absolute; relative ones count from the file's folder. */
export type ResolvePath = (path: string) => string;

/** Fills in defaults and makes paths absolute. The file must have passed its shape, its rules and `refuseLater`. */
export function buildConfig(file: RawFile, path: string, resolve: ResolvePath): Config {
  const sites = Object.entries(file.sites);
  const groups = Object.entries(file.groups ?? {});
  return {
    path,
    cluster: file.cluster,
    sites: new Map(sites.map(([name, site]) => [name, buildSite(name, site, resolve)])),
    groups: new Map(groups.map(([name, group]) => [name, buildGroup(name, group, resolve)])),
    secret: undefined,
    ...(file.secret === undefined ? {} : { secretPath: resolve(file.secret) }),
    insecure: file.insecure ?? false,
  };
}

function buildSite(name: string, site: RawSite, resolve: ResolvePath): SiteConfig {
  const nbd = site.nbd ?? [];
  const reach = Object.entries(site.reach ?? {});
  return {
    name,
    peer: resolveAddress(site.peer, resolve),
    api: resolveAddress(site.api, resolve),
    nbd: (typeof nbd === "string" ? [nbd] : nbd).map((address) => resolveAddress(address, resolve)),
    data: resolve(site.data),
    reach: new Map(reach.map(([peer, address]) => [peer, resolveAddress(address, resolve)])),
  };
}

function buildGroup(name: string, group: RawGroup, resolve: ResolvePath): GroupConfig {
  const { onPromote, onDemote } = group.hooks ?? {};
  const bunkerPath = group.journal?.mirror;
  const relays = relaysOf(group);
  const copies: (readonly [string, RawCopy])[] = [
    ...Object.entries(group.copies ?? {}),
    ...relays,
    ...(bunkerPath === undefined ? [] : [[pathBunkerOf(name), { mode: "bunker" }] as const]),
  ];
  return {
    name,
    primary: group.primary,
    volumes: Object.entries(group.volumes).map(([volume, raw]) =>
      buildVolume(volume, raw, resolve),
    ),
    copies: new Map(
      copies.map(([site, copy]) => [
        site,
        { ...buildCopy(site, copy), ...(relays.has(site) ? { isRelay: true as const } : {}) },
      ]),
    ),
    durability: group.durability ?? defaults.durability,
    regionBytes: group.region ?? defaults.regionBytes,
    journal: {
      bytesMax: group.journal?.size ?? defaults.journal.bytesMax,
      overflow: group.journal?.overflow ?? defaults.journal.overflow,
    },
    ...(bunkerPath === undefined ? {} : { bunkerPath: resolve(bunkerPath) }),
    hooks: {
      ...(onPromote === undefined ? {} : { onPromote: resolve(onPromote) }),
      ...(onDemote === undefined ? {} : { onDemote: resolve(onDemote) }),
    },
  };
}

/** Sites that keep the log for no other reason than to feed a copy: probed as the copy is. */
export function relaysOf({ copies = {} }: RawGroup): ReadonlyMap<string, RawCopy> {
  const relays = new Map<string, RawCopy>();
  for (const { through, probe, timeout } of Object.values(copies)) {
    if (through === undefined || copies[through] !== undefined || relays.has(through)) continue;
    relays.set(through, { mode: "bunker", probe, timeout });
  }
  return relays;
}

function buildVolume(
  name: string,
  { size, at, trustDevice }: RawVolume,
  resolve: ResolvePath,
): VolumeConfig {
  const places = Object.entries(at ?? {}).map(
    ([site, place]) => [site, isDeviceUri(place) ? place : resolve(place)] as const,
  );
  return {
    name,
    bytes: size,
    at: new Map(places),
    ...(trustDevice === true ? { trustDevice } : {}),
  };
}

function buildCopy(site: string, copy: RawCopy): CopyConfig {
  return {
    site,
    mode: copy.mode,
    onLoss: copy.onLoss ?? (copy.mode === "bunker" ? defaults.bunkerOnLoss : defaults.onLoss),
    ackTimeoutMs: copy.ackTimeout ?? defaults.ackTimeoutMs,
    resume: copy.resume ?? defaults.resume,
    preserveBytesMax: copy.preserve?.bytesMax,
    rpoMs: copy.rpo,
    probeMs: copy.probe ?? defaults.probeMs,
    timeoutMs: copy.timeout ?? defaults.timeoutMs,
    rateBytesPerSecond: copy.rate,
    seal: copy.mode === "cycle" ? buildCycle(copy) : buildSeal(copy),
    ackAt: copy.mode === "cycle" ? (copy.ackAt ?? defaults.ackAt) : undefined,
    staging: copy.staging ?? defaults.staging,
    connections: copy.connections ?? defaults.connections,
    compress: copy.compress === "off" ? undefined : copy.compress,
    ...(copy.through === undefined ? {} : { through: copy.through }),
    ...(copy.replay === "auto"
      ? { replayAfterMs: copy.replayAfter ?? defaults.replayAfterMs }
      : {}),
  };
}

function buildSeal({ seal }: RawCopy): SealConfig {
  return {
    everyMs: seal?.every ?? defaults.seal.everyMs,
    bytesMax: seal?.bytes ?? defaults.seal.bytesMax,
    onFlush: seal?.onFlush ?? defaults.seal.onFlush,
  };
}

// The number moves on with the clock, whatever hosts flush.
function buildCycle({ every, ackAt = defaults.ackAt }: RawCopy): SealConfig {
  const { everyMs, bytesMax } = defaults.cycle;
  return { everyMs: every ?? everyMs[ackAt], bytesMax, onFlush: false };
}

function resolveAddress(address: string, resolve: ResolvePath): string {
  if (!address.startsWith("unix:")) return address;
  const path = address.slice("unix:".length);
  return path === "" ? address : `unix:${resolve(path)}`;
}
