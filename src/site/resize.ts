import { limits } from "#base/limits.ts";
import { keepsLog } from "#core/member-state.ts";
import type { Member, Primary, Volume } from "#core/primary-state.ts";
import { parseRefusal } from "#wire/peer/documents.ts";
import type { GrowOpen, PeerRefusal } from "#wire/peer/documents.ts";
import type { CommandOutcome, SiteCommand } from "./api.ts";
import type { Group } from "./group.ts";
import { growHere } from "./grow.ts";
import { dialPeer } from "./peer-connection.ts";
import type { PrimaryRun } from "./primary-run.ts";
import { notPrimary, refused } from "./refusals.ts";
import { whyNotNow } from "./reload.ts";

// `antipode resize` at the primary (SPEC-mirror.md, Growing a volume): every copy is asked whether it could, then each grows,
// image and record; then the primary does the same; and only then hosts may write there. Whatever ends it early leaves a group
// that is whole, with copies that have room for more than hosts see: the same command goes on from there.

type Done = (outcome: CommandOutcome) => void;
type Resize = Extract<SiteCommand, { kind: "resize" }>;

type Asked = {
  readonly group: Group;
  readonly run: PrimaryRun;
  readonly volume: Volume;
  readonly bytes: number;
  readonly plan: readonly string[];
  readonly done: Done;
};

export function runResize(group: Group, command: Resize, done: Done): void {
  const { run } = group;
  if (run === undefined || run.primary.stage === "ended") return done(notPrimary(group));
  const { bytes } = command;
  const volume = run.primary.volumes.find(({ name }) => name === command.volume);
  if (volume === undefined) {
    const known = run.primary.volumes.map(({ name }) => name).join(", ");
    const message = `${group.name} has no volume ${command.volume}`;
    return done(refused("usage", message, `its volumes are: ${known}`));
  }
  const wrong = wrongSize(group, volume, bytes);
  if (wrong !== undefined) return done(wrong);
  if (bytes === volume.bytes)
    return done({ ok: true, plan: [`${group.name}/${volume.name} has ${bytes} bytes`] });
  const blocked = whyNotNow(group) ?? whyNotVolume(volume);
  if (blocked !== undefined)
    return done(refused("failed", blocked, `see antipode why ${group.name}`));
  const asked = {
    group,
    run,
    volume,
    bytes,
    plan: planOf(group, run.primary, volume, bytes),
    done,
  };
  const cannot = group.context.images[volume.index]?.whyNotGrow(bytes);
  if (cannot !== undefined) return giveUp(asked, `${group.context.site}: ${cannot.message}`);
  group.isReloading = true;
  askCopies(asked, false, (why) => {
    if (why !== undefined) return giveUp(asked, why);
    if (!command.dryRun) return growCopies(asked);
    group.isReloading = false;
    done({ ok: true, plan: asked.plan });
  });
}

function wrongSize(group: Group, volume: Volume, bytes: number): CommandOutcome | undefined {
  const { sectorBytes, volumeBytesMax } = limits;
  const name = `${group.name}/${volume.name}`;
  if (bytes < volume.bytes)
    return refused(
      "usage",
      `${name} has ${volume.bytes} bytes, and ${bytes} are fewer: a volume does not shrink`,
      "make a smaller volume in another group, and copy what is to be kept",
    );
  if (bytes % sectorBytes !== 0) {
    const next = Math.ceil(bytes / sectorBytes) * sectorBytes;
    const message = `${bytes} is no multiple of ${sectorBytes} bytes, a disk's unit`;
    return refused("usage", message, `the next is ${next}`);
  }
  if (bytes > volumeBytesMax)
    return refused("usage", `${bytes} bytes are too many`, `at most ${volumeBytesMax} fit`);
  return undefined;
}

function whyNotVolume({ name, state, device }: Volume): string | undefined {
  if (state !== "ok") return `${name} has failed`;
  return device === undefined
    ? undefined
    : `${name} lies on an NBD server: it keeps its size in this version`;
}

// A bunker keeps entries, and no volume.
function copiesOf(primary: Primary): Member[] {
  return primary.members.filter((member) => !keepsLog(member));
}

function planOf(group: Group, primary: Primary, { name, bytes: before }: Volume, bytes: number) {
  const { site } = group.context;
  const copies = copiesOf(primary).map((member) => member.site);
  return [
    ...copies.map((copy) => `${copy}: the image of ${name} grows from ${before} to ${bytes} bytes`),
    `${site}: the image grows${copies.length === 0 ? "" : " when every copy has grown"}, then the export; what is new reads as zeros`,
    `hosts see it when they connect again: a connection that is open keeps the size that it has`,
    `write size: ${bytes} for ${name} of ${group.name} in the cluster file of every site; until then what is on record rules`,
  ];
}

function giveUp({ group, plan, done }: Asked, why: string, what = "nothing was changed"): void {
  group.isReloading = false;
  const hint = `${what}; give the command again when that is mended`;
  done(refused("failed", `not every site can grow: ${why}`, hint, plan));
}

// Each copy has it on its disk before the next step: whichever of them is promoted has room for all that hosts wrote.
function growCopies(asked: Asked): void {
  const { group, run, volume, bytes, plan, done } = asked;
  const partly = "hosts see the old size, and whatever has grown stays so";
  askCopies(asked, true, (why) => {
    const late = why ?? (group.run === run ? whyNotVolume(volume) : "the primary has moved on");
    if (late !== undefined) return giveUp(asked, late, partly);
    growHere(group, volume.index, bytes, (failure) => {
      if (failure !== undefined) return giveUp(asked, `${group.context.site}: ${failure}`, partly);
      group.isReloading = false;
      done({ ok: true, plan });
    });
  });
}

/** Asks every copy; `done` gets why the first of them does not, or cannot. */
function askCopies(asked: Asked, isWanted: boolean, done: (why: string | undefined) => void): void {
  const sites = copiesOf(asked.run.primary).map(({ site }) => site);
  const endMs = asked.group.context.ports.clock.nowMs() + limits.growPatienceMs;
  let failure: string | undefined;
  let missing = sites.length;
  if (missing === 0) return done(undefined);
  for (const site of sites) {
    askCopy(asked, { site, isWanted, endMs }, (why) => {
      if (why !== undefined) failure ??= `${site} ${why}`;
      missing -= 1;
      if (missing === 0) done(failure);
    });
  }
}

type Question = { readonly site: string; readonly isWanted: boolean; readonly endMs: number };

function askCopy(asked: Asked, question: Question, done: (why: string | undefined) => void): void {
  const { context } = asked.group;
  const { clock } = context.ports;
  const { site, isWanted, endMs } = question;
  const { record } = context.store;
  const document: GrowOpen = {
    purpose: "grow",
    group: asked.group.name,
    history: record.history,
    incarnation: record.incarnation,
    volume: asked.volume.name,
    bytes: asked.bytes,
    isWanted,
  };
  const target = { site, address: context.addressOf(site), document };
  dialPeer(context.identity, context.ports.transport, target, (outcome) => {
    switch (outcome.kind) {
      case "opened":
        outcome.peer.connection.close("that is all");
        return done(undefined);
      case "failed":
        return done(`does not answer: ${outcome.why}`);
      case "refused": {
        const { code, why } = reasonOf(outcome.document);
        const mayAsk = code === "busy" && clock.nowMs() < endMs && asked.group.run === asked.run;
        if (!mayAsk) return done(`refuses: ${why}`);
        clock.after(limits.growRetryMs, () => askCopy(asked, question, done));
      }
    }
  });
}

function reasonOf(document: unknown): Pick<PeerRefusal, "code" | "why"> {
  const refusal = parseRefusal(document);
  return refusal.ok ? refusal.value : { code: "not-a-copy", why: refusal.error };
}
