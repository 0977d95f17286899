import { limits } from "#base/limits.ts";
import type { Place } from "#config/locate.ts";
import type { Config, GroupConfig } from "#config/types.ts";
import { isFed } from "#core/member-state.ts";
import { saveRecord } from "#store/group-store.ts";
import { removeOtherLogs } from "#store/log-files.ts";
import type { CommandOutcome } from "./api.ts";
import { configurationOf, setConfig, setFile } from "./configuration.ts";
import { emit } from "./group-context.ts";
import { needsJournal } from "./group-config.ts";
import { primaryOf } from "./group.ts";
import { policiesOf } from "./policies.ts";
import type { Group } from "./group.ts";
import { closeJournal } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { openJournal } from "./journal-start.ts";
import { refused } from "./refusals.ts";
import { describeAddresses, describeChanges, describeHooks, refusalsOf } from "./reload-plan.ts";
import type { CopyFacts } from "./reload-plan.ts";
import { digestOf, withSettings } from "./settings.ts";

// `antipode reload`: a running group takes what this site's file says by now. All of it or nothing: what cannot change while
// the group runs refuses the whole reload. At the primary the group's settings become a new revision, which is on record before
// the command is answered; elsewhere only what is this site's own business is taken.

/** The file as it is now. */
export type FileRead =
  | {
      readonly ok: true;
      readonly config: Config;
      /** The line of a place, for messages. */
      readonly lineOf: (place: Place) => number;
    }
  | { readonly ok: false; readonly message: string; readonly hint: string | undefined };

/** The site whose group it is. */
export type ReloadSite = {
  readonly name: string;
  readonly config: Config;
  readFile(): FileRead;
  addressOf(config: Config, to: string): string;
  /** The file's changes are taken, as far as they concern this group. */
  adopt(file: Config, group: string): void;
};

type Done = (outcome: CommandOutcome) => void;

type Reload = {
  readonly site: ReloadSite;
  readonly group: Group;
  readonly file: Config;
  /** What the file says of the group. */
  readonly wanted: GroupConfig;
  readonly plan: string[];
  readonly done: Done;
};

export function runReload(site: ReloadSite, group: Group, dryRun: boolean, done: Done): void {
  const read = site.readFile();
  if (!read.ok) return done(refused("config", read.message, read.hint));
  const running = { config: site.config, group: group.config, site: site.name };
  const [first, ...more] = refusalsOf(running, read.config);
  const wanted = read.config.groups.get(group.name);
  if (first !== undefined || wanted === undefined) {
    const { place, reason, hint } = first ?? {
      place: [],
      reason: "no such group",
      hint: undefined,
    };
    const rest = more.length === 0 ? "" : ` (and ${more.length} more)`;
    const where = `${read.config.path}:${read.lineOf(place)}: ${place.join(".")}`;
    return done(refused("config", `${where}: ${reason}${rest}; nothing was changed`, hint));
  }
  const hooks = site.config.groups.get(group.name)?.hooks ?? {};
  const plan = [
    ...addressLines(site, read.config),
    ...describeHooks(site.name, hooks, wanted.hooks),
    ...newGroups(site, read.config),
    ...missingGroups(site, read.config),
  ];
  const reload: Reload = { site, group, file: read.config, wanted, plan, done };
  if (group.run === undefined) return reloadElsewhere(reload, dryRun);
  reloadPrimary(reload, dryRun);
}

function addressLines(site: ReloadSite, file: Config): string[] {
  return describeAddresses(site.name, (to) => site.addressOf(site.config, to), {
    sites: file.sites.keys(),
    addressOf: (to) => site.addressOf(file, to),
  });
}

function newGroups(site: ReloadSite, file: Config): string[] {
  return [...file.groups.values()]
    .filter((group) => isPartOf(group, site.name) && !site.config.groups.has(group.name))
    .map(({ name }) => `group ${name} is new: it begins when ${site.name} is started again`);
}

function missingGroups(site: ReloadSite, file: Config): string[] {
  return [...site.config.groups.values()]
    .filter((group) => isPartOf(group, site.name) && !file.groups.has(group.name))
    .map(
      ({ name }) =>
        `group ${name} is not in the file any more: it goes on until ${site.name} is started again`,
    );
}

function isPartOf({ primary, copies }: GroupConfig, site: string): boolean {
  return primary === site || copies.has(site);
}

// ------------------------------------------------------------------------------------ not the primary

// The primary's revision rules. This site takes what is its own business, and says where its file differs.
function reloadElsewhere({ site, group, file, wanted, plan, done }: Reload, dryRun: boolean): void {
  const { context, config } = group;
  const revision = context.store.record.configuration?.revision ?? 0;
  const differing = describeChanges(config, wanted, () => nothingKnown);
  const primary = primaryOf(group);
  if (differing.length > 0) {
    plan.push(
      `revision ${revision} of ${primary} rules, and the file of ${site.name} differs from it; antipode reload ${group.name} takes the file of ${primary}`,
      ...differing.map((line) => `not taken: ${line}`),
    );
  }
  if (!dryRun) {
    site.adopt(file, group.name);
    setFile(group, wanted);
    setConfig(group, withSettings(wanted, config));
  }
  if (plan.length === 0) plan.push(`nothing changes: the file says what revision ${revision} does`);
  done({ ok: true, plan });
}

const nothingKnown: CopyFacts = { behindWrites: 0, openBytes: 0, volumeBytes: 0, isFed: true };

// ---------------------------------------------------------------------------------------- the primary

function reloadPrimary(reload: Reload, dryRun: boolean): void {
  const { group, wanted, plan, done, site, file } = reload;
  const blocked = whyNotNow(group);
  if (blocked !== undefined)
    return done(refused("failed", blocked, `see antipode why ${group.name}`));
  const changes = describeChanges(group.config, wanted, (copy) => factsOf(group, copy));
  const { record } = group.context.store;
  const revision = record.configuration?.revision ?? 0;
  plan.push(...changes);
  if (changes.length > 0)
    plan.push(`this becomes revision ${revision + 1}, which rules at all sites`);
  else if (plan.length === 0)
    plan.push(`nothing changes: the file says what revision ${revision} does`);
  if (dryRun) return done({ ok: true, plan });
  if (
    changes.length === 0 &&
    digestOf(wanted, group.context.ports.crypto) === record.configuration?.digest
  ) {
    // Only what each site has to itself: addresses, hooks.
    site.adopt(file, group.name);
    setFile(group, wanted);
    setConfig(group, withSettings(wanted, group.config));
    return done({ ok: true, plan });
  }
  group.isReloading = true;
  if (group.journal !== undefined || !needsJournal(wanted)) return commit(reload, undefined);
  const { context } = group;
  openJournal(
    // A group with devices has its journal from the first start on.
    { context, bytesMax: wanted.journal.bytesMax, isPowerLost: false, gateways: [] },
    (opened) => {
      const late = opened.ok ? whyGone(group) : `the journal cannot be made: ${opened.error}`;
      if (opened.ok && late === undefined) return commit(reload, opened.value);
      giveUpJournal(group, opened.ok ? opened.value : undefined);
      group.isReloading = false;
      done(refused("failed", `${late ?? ""}; nothing was changed`, undefined, plan));
    },
  );
}

/** Why a group cannot be reloaded now. */
export function whyNotNow(group: Group): string | undefined {
  if (group.isReloading) return `a reload or resize of ${group.name} is under way`;
  return whyGone(group);
}

function whyGone(group: Group): string | undefined {
  const primary = group.run?.primary;
  if (primary === undefined || primary.stage !== "serving" || primary.suspended)
    return `${group.name} is not served by ${group.context.site} now: ${primary?.why ?? ""}`;
  if (primary.handover !== undefined) return `${group.name} is ${primary.why}`;
  const changing = primary.members.find(({ isLeaving, isTurning }) => isLeaving || isTurning);
  return changing === undefined
    ? undefined
    : `what the last reload means for ${changing.site} is not on record yet`;
}

function giveUpJournal(group: Group, journal: JournalRun | undefined): void {
  const { record, folder } = group.context.store;
  delete record.journalId;
  if (journal === undefined) return;
  closeJournal(journal);
  removeOtherLogs(folder, "journal", undefined);
}

function factsOf(group: Group, site: string): CopyFacts {
  const primary = group.run?.primary;
  const member = primary?.members.find((candidate) => candidate.site === site);
  const held = member?.sets.completeLsn ?? 0;
  return {
    behindWrites: primary === undefined ? 0 : Math.max(0, primary.nextLsn - 1 - held),
    openBytes:
      ((primary?.openGranules ?? 0) + (primary?.retainedGranules ?? 0)) * limits.openGranuleBytes,
    isFed: member === undefined || isFed(member),
    volumeBytes: group.config.volumes.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

// The machine changes in the same step as the record, so that no crash finds the one without the other.
function commit(reload: Reload, journal: JournalRun | undefined): void {
  const { site, group, file, wanted, plan, done } = reload;
  const { context, run } = group;
  const { record } = context.store;
  group.isReloading = false;
  if (run === undefined)
    return done(refused("failed", "the primary has moved on", undefined, plan));
  const revision = (record.configuration?.revision ?? 0) + 1;
  record.configuration = configurationOf(wanted, revision, context.ports.crypto);
  group.isFileEdited = false;
  setConfig(group, wanted);
  setFile(group, wanted);
  group.journal ??= journal;
  site.adopt(file, group.name);
  emit(context, { kind: "reload", why: `revision ${revision}: ${plan.join("; ")}` });
  run.reconfigure(policiesOf(wanted, context.site), journal);
  saveRecord(context.store, (failure) => {
    if (failure === undefined) return done({ ok: true, plan });
    // Whether it is on the disk cannot be known: the primary ends, as at any record that it cannot write.
    run.submit({ kind: "storeFailed", what: failure.message });
    done(refused("failed", `the configuration could not be recorded: ${failure.message}`));
  });
}
