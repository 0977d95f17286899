import { defaults } from "./defaults.ts";
import type { RawCopy, RawFile, RawGroup, RawSite } from "./schema.ts";
import type { Config, CopyConfig, GroupConfig, SiteConfig, VolumeConfig } from "./types.ts";

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
  const copies = Object.entries(group.copies ?? {});
  return {
    name,
    primary: group.primary,
    volumes: Object.entries(group.volumes).map(([volume, { size, at }]) =>
      buildVolume(volume, size, at, resolve),
    ),
    copies: new Map(copies.map(([site, copy]) => [site, buildCopy(site, copy)])),
    durability: group.durability ?? defaults.durability,
    regionBytes: group.region ?? defaults.regionBytes,
    journal: {
      bytesMax: group.journal?.size ?? defaults.journal.bytesMax,
      overflow: group.journal?.overflow ?? defaults.journal.overflow,
    },
    hooks: {
      ...(onPromote === undefined ? {} : { onPromote: resolve(onPromote) }),
      ...(onDemote === undefined ? {} : { onDemote: resolve(onDemote) }),
    },
  };
}

function buildVolume(
  name: string,
  bytes: number,
  at: Readonly<Record<string, string>> | undefined,
  resolve: ResolvePath,
): VolumeConfig {
  const places = Object.entries(at ?? {});
  return { name, bytes, at: new Map(places.map(([site, path]) => [site, resolve(path)])) };
}

function buildCopy(site: string, copy: RawCopy): CopyConfig {
  return {
    site,
    mode: copy.mode === "async" ? "async" : "sync",
    onLoss: copy.onLoss === "stall" || copy.onLoss === "fail" ? copy.onLoss : defaults.onLoss,
    ackTimeoutMs: copy.ackTimeout ?? defaults.ackTimeoutMs,
    resume: copy.resume ?? defaults.resume,
    preserveBytesMax: copy.preserve?.bytesMax,
    rpoMs: copy.rpo,
    probeMs: copy.probe ?? defaults.probeMs,
    timeoutMs: copy.timeout ?? defaults.timeoutMs,
    rateBytesPerSecond: copy.rate,
    seal: {
      everyMs: copy.seal?.every ?? defaults.seal.everyMs,
      bytesMax: copy.seal?.bytes ?? defaults.seal.bytesMax,
      onFlush: copy.seal?.onFlush ?? defaults.seal.onFlush,
    },
    staging: copy.staging ?? defaults.staging,
    connections: copy.connections ?? defaults.connections,
    compress: copy.compress === "off" ? undefined : copy.compress,
  };
}

function resolveAddress(address: string, resolve: ResolvePath): string {
  if (!address.startsWith("unix:")) return address;
  const path = address.slice("unix:".length);
  return path === "" ? address : `unix:${resolve(path)}`;
}
