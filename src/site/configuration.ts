import { compareHistories } from "#core/history.ts";
import type { Configuration, GroupRecord } from "#core/group-record.ts";
import type { GroupConfig } from "#config/types.ts";
import type { Crypto } from "#ports/crypto.ts";
import { saveRecord } from "#store/group-store.ts";
import { isUnmade } from "#store/unmade-store.ts";
import type { ConfigurationView, GroupView } from "#wire/peer/probe.ts";
import { emit } from "./group-context.ts";
import type { Group } from "./group.ts";
import { decodeSettings, digestOf, encodeSettings, withSettings } from "./settings.ts";
import type { GroupSettings } from "./settings.ts";

// Which configuration a group goes by at this site: the revision that its primary has on record, whatever files say. Only a
// reload at the primary takes a file. The other sites hear of it with the probes, and keep it for the day they are promoted.

export function configurationOf(
  config: GroupSettings,
  revision: number,
  crypto: Crypto,
): Configuration {
  return { revision, digest: digestOf(config, crypto), settings: encodeSettings(config) };
}

/** The group as its record says, and where that says nothing, as this site's file does. */
export function recordedConfig(file: GroupConfig, record: GroupRecord): GroupConfig {
  const settings = decodeSettings(record.configuration?.settings ?? "");
  return withSizes(settings === undefined ? file : withSettings(file, settings), record);
}

// What a volume's size is, the record says at every site, whatever files say: `resize` alone changes it.
function withSizes(config: GroupConfig, { volumes, role }: GroupRecord): GroupConfig {
  // What a bunker keeps has no size.
  if (role === "bunker") return config;
  const sized = config.volumes.map((volume) => {
    const bytes = volumes.find(({ name }) => name === volume.name)?.bytes ?? volume.bytes;
    return bytes === volume.bytes ? volume : { ...volume, bytes };
  });
  return { ...config, volumes: sized };
}

/** This site's file says this. Tells when that is something else than the revision that rules. */
export function setFile(group: Group, file: GroupConfig): void {
  group.file = file;
  group.fileDigest = digestOf(file, group.context.ports.crypto);
  const { record } = group.context.store;
  if (record.configuration !== undefined)
    record.configuration = { ...record.configuration, file: group.fileDigest };
  noteFile(group, group.context.site, group.fileDigest);
  noteSizes(group);
}

/** This site's file says another size of a volume than its record, which rules: so it is said, once, with what to do. */
function noteSizes(group: Group): void {
  const { record } = group.context.store;
  if (record.role === "bunker") return;
  for (const { name, bytes } of group.file.volumes) {
    const ruling = record.volumes.find((volume) => volume.name === name)?.bytes ?? bytes;
    const told = `${ruling} ${bytes}`;
    const isTold = group.differingTold.get(`size of ${name}`) === told;
    if (ruling === bytes || isTold) continue;
    group.differingTold.set(`size of ${name}`, told);
    const volume = `${group.name}/${name}`;
    const help =
      bytes > ruling
        ? `antipode resize ${volume} ${bytes} grows it`
        : `volumes do not shrink: write size: ${ruling}`;
    const why = `the file says ${bytes} bytes for ${volume}, which has ${ruling}: that rules; ${help}`;
    emit(group.context, { kind: "configuration", copy: group.context.site, volume: name, why });
  }
}

/** The file here was edited while the site was down, and says something else than the revision that rules. */
export function isFileEdited(group: Group): boolean {
  const { configuration } = group.context.store.record;
  const { file, digest } = configuration ?? {};
  const now = digestOf(group.file, group.context.ports.crypto);
  return file !== undefined && now !== file && now !== digest;
}

function noteFile(group: Group, site: string, digest: string): void {
  const ruling = group.context.store.record.configuration;
  if (ruling === undefined || digest === ruling.digest) return;
  const told = `${ruling.digest} ${digest}`;
  if (group.differingTold.get(site) === told) return;
  group.differingTold.set(site, told);
  const why = `the file of ${site} differs from revision ${ruling.revision}, which rules; antipode reload takes the primary's file`;
  emit(group.context, { kind: "configuration", copy: site, why });
}

/** What this site tells another of the group's configuration; as its primary the settings too, where that site has others. */
export function configurationView(group: Group, site: string): ConfigurationView | undefined {
  const { configuration } = group.context.store.record;
  if (configuration === undefined || group.recordBefore !== undefined) return undefined;
  const { settings, file: _, ...ruling } = configuration;
  const told = { ...ruling, file: group.fileDigest };
  const theirs = group.views.get(site)?.view.configuration;
  const isKnown = theirs?.digest === ruling.digest && theirs.revision === ruling.revision;
  return isKnown || group.run === undefined ? told : { ...told, settings };
}

/** Another site tells of its configuration. Gives whether this site goes by another one now. */
export function hearConfiguration(group: Group, site: string, view: GroupView): boolean {
  const { record } = group.context.store;
  const { configuration } = view;
  // A later generation that continues ours rules too, though its primary may not feed this site yet.
  const relation = compareHistories(view.history, record.history);
  if (configuration === undefined || (relation !== "same" && relation !== "ahead")) return false;
  const { revision, digest, settings, file } = configuration;
  if (group.run !== undefined) {
    // Once it goes by our revision it has looked at its file again.
    if (digest === record.configuration?.digest) noteFile(group, site, file);
    return false;
  }
  const ours = record.configuration;
  if (!mayAdopt(group)) return false;
  if (view.role !== "primary" || settings === undefined) return false;
  if (ours?.digest === digest && ours.revision === revision) return false;
  const decoded = decodeSettings(settings);
  if (decoded === undefined) {
    noteUnknown(group, site, revision);
    return false;
  }
  record.configuration = { revision, digest, settings, file: group.fileDigest };
  setConfig(group, withSettings(group.file, decoded));
  if (ours !== undefined)
    emit(group.context, { kind: "configuration", why: `goes by revision ${revision} of ${site}` });
  // Nothing rests on it: a site that forgets it is told again.
  saveRecord(group.context.store, (failure) => {
    if (failure === undefined) return;
    group.failedWhy = `the group's record cannot be written: ${failure.message}`;
    emit(group.context, { kind: "failed", why: group.failedWhy });
  });
  return true;
}

// A mirror that is not fed may have been acked without on the terms that it knows. Under stricter ones it would say at its
// promotion that nothing is lost. It is told again when it is fed, or knows that it is not current. Who has no record yet is
// told again when there is one.
function mayAdopt(group: Group): boolean {
  if (isUnmade(group.context.store)) return false;
  const copy = group.copy?.copy;
  return copy?.session?.begun === true || group.context.store.record.image !== "synchronized";
}

// It is told with every probe, and is worth one event.
function noteUnknown(group: Group, site: string, revision: number): void {
  const told = `unknown ${revision}`;
  if (group.differingTold.get(site) === told) return;
  group.differingTold.set(site, told);
  const why = `revision ${revision} of ${site} has settings that this version does not know`;
  emit(group.context, { kind: "configuration", why });
}

/** From now on the group goes by this configuration here. */
export function setConfig(group: Group, wanted: GroupConfig): void {
  const config = withSizes(wanted, group.context.store.record);
  group.config = config;
  group.context.config = config;
}

/** What rules here, and the sites whose files say something else, as far as they are known. */
export function configurationStatus(group: Group): {
  readonly revision: number;
  readonly differing: readonly string[];
} {
  const ruling = group.context.store.record.configuration;
  if (ruling === undefined) return { revision: 0, differing: [] };
  const differing = group.fileDigest === ruling.digest ? [] : [group.context.site];
  for (const [site, { view }] of group.views) {
    const { digest, file } = view.configuration ?? {};
    if (digest === ruling.digest && file !== ruling.digest) differing.push(site);
  }
  return { revision: ruling.revision, differing: differing.toSorted() };
}
