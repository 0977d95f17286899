import { must } from "#base/assert.ts";
import type { GroupConfig } from "#config/types.ts";
import type {
  CommandOutcome,
  CopyState,
  CopyStatus,
  GroupStatus,
  Role,
  SiteCommand,
} from "#site/api.ts";
import type { Site, SiteOptions } from "#site/site.ts";

// A stand-in for the engine: it has roles and copy states and moves no data. With it, the API, the command line and the
// composition of a site are tested by themselves.

type FakeGroup = {
  readonly config: GroupConfig;
  role: Role;
  readonly states: Map<string, CopyState>;
};

/** A site that believes its file: the file's primary is primary, and every copy is synchronized. */
export function createFakeSite(options: SiteOptions): Site {
  const { name, version, ports } = options;
  const groups = groupsOf(options);

  const emit = (group: string, kind: string, from: string, to: string): void =>
    ports.events.emit({ kind, group, from, to, why: "the test said so" });

  const setCopy = (group: FakeGroup, copy: string, to: CopyState): CommandOutcome => {
    const from = group.states.get(copy);
    if (from === undefined) return refusal("usage", `${group.config.name} has no copy ${copy}`);
    group.states.set(copy, to);
    emit(group.config.name, "copy-state", from, to);
    return { ok: true, plan: [`${copy} becomes ${to}`] };
  };

  const obey = (command: SiteCommand): CommandOutcome => {
    const group = must(groups.get(command.group), "the API asks for known groups only");
    switch (command.kind) {
      case "pause":
        return setCopy(group, command.copy, "paused");
      case "resume":
      case "resync":
        return setCopy(group, command.copy, "synchronized");
      case "repair":
      case "verify":
      case "replay":
      case "resize":
        return { ok: true, plan: [] };
      case "switchover":
        return handOver(group, command, name);
      case "discard":
        return obeyDiscard(command);
      case "demote":
        if (!command.dryRun) group.role = "secondary";
        return { ok: true, plan: ["drain", "demote"] };
      case "reload":
        return options.readFile === undefined
          ? refusal("usage", "there is no file to read")
          : { ok: true, plan: [`read ${options.readFile().ok}`] };
      case "promote":
        if (!command.force) return refusal("unsafe", "the primary answers");
        group.role = "primary";
        emit(group.config.name, "role", "secondary", "primary");
        return { ok: true, plan: ["promote"] };
    }
  };

  return {
    start: (done) => {
      for (const group of groups.keys()) emit(group, "started", "stopped", "running");
      ports.trace?.line({ dir: "out", kind: "started", group: "bank", lsn: 1 });
      done(undefined);
    },
    accept: () => ({ onData: () => undefined, onClose: () => undefined, onDrain: () => undefined }),
    exports: {
      list: () => [],
      find: () => ({ kind: "unknown" }),
      onDrop: () => undefined,
    },
    status: () => ({
      site: name,
      version,
      groups: [...groups.values()].map((group) => groupStatus(group, name)),
    }),
    command: (command, done) => done(obey(command)),
    stop: (done) => done(),
  };
}

function groupsOf({ config, name }: SiteOptions): Map<string, FakeGroup> {
  const ours = [...config.groups.values()].filter(
    (group) => group.primary === name || group.copies.has(name),
  );
  return new Map(
    ours.map((group) => [
      group.name,
      {
        config: group,
        role: group.primary === name ? "primary" : "secondary",
        states: new Map([...group.copies.keys()].map((site) => [site, "synchronized"])),
      },
    ]),
  );
}

function obeyDiscard({ what, force }: Extract<SiteCommand, { kind: "discard" }>): CommandOutcome {
  if (what === "give-up" && !force) return refusal("unsafe", "hosts are served here");
  return { ok: true, plan: [what] };
}

function refusal(code: "usage" | "unsafe", message: string): CommandOutcome {
  return { ok: false, code, message, hint: "ask the test", plan: ["what would be lost"] };
}

function handOver(
  group: FakeGroup,
  { to, dryRun }: { readonly to: string; readonly dryRun: boolean },
  site: string,
): CommandOutcome {
  if (to === site || !group.states.has(to)) return refusal("unsafe", `${to} cannot take over`);
  if (!dryRun) group.role = "secondary";
  return { ok: true, plan: [`${to} becomes primary`] };
}

function groupStatus({ config, role, states }: FakeGroup, site: string): GroupStatus {
  return sampleGroup({
    name: config.name,
    role,
    primary: config.primary,
    durability: config.durability,
    serving: role === "primary",
    lsn: 8123,
    volumes: config.volumes.map(({ name, bytes }) => ({ name, bytes, state: "ok", uri: "" })),
    copies: [...states]
      .filter(([copy]) => role === "primary" || copy === site)
      .map(([copy, state]) => copyStatus(copy, state)),
  });
}

/** `sampleGroup` with copies. */
export function groupWith(
  copies: readonly CopyStatus[],
  more: Partial<GroupStatus> = {},
): GroupStatus {
  return sampleGroup({ copies, ...more });
}

/** A primary's group of one volume and no copies, and what is otherwise. */
export function sampleGroup(more: Partial<GroupStatus> = {}): GroupStatus {
  return {
    name: "bank",
    role: "primary",
    generation: 1,
    primary: "east",
    durability: "flush",
    serving: true,
    why: "",
    lsn: 10,
    set: 0,
    volumes: [{ name: "data", bytes: 1024, state: "ok", uri: "" }],
    journal: {
      bytesUsed: 0,
      bytesMax: 0,
      stalledWrites: 0,
      isPacing: false,
      overflowSeconds: null,
      diskFull: "",
    },
    copies: [],
    configuration: { revision: 1, differing: [] },
    openGranules: 0,
    requestsInFlight: 0,
    ...more,
  };
}

/** A copy in a state, with the figures that go with it. */
export function copyStatus(
  site: string,
  state: CopyState,
  more: Partial<CopyStatus> = {},
): CopyStatus {
  const atBest = state === "synchronized";
  return {
    site,
    mode: "sync",
    state,
    image: atBest ? "synchronized" : "consistent",
    received: 8123,
    staged: 8123,
    complete: 8123,
    applied: 8123,
    lagBytes: atBest ? 0 : 4096,
    lagWrites: atBest ? 0 : 1,
    lagSeconds: atBest ? 0 : 2.5,
    applyLagBytes: 0,
    applyLagWrites: 0,
    dirtyBytes: atBest ? 0 : 65536,
    sets: [],
    resyncSentBytes: 0,
    resyncComparedBytes: 0,
    link: "up",
    why: atBest ? "" : "paused by an operator",
    ...more,
  };
}
