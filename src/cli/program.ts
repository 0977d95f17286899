import { Command, CommanderError, Option } from "commander";
import { readVersion } from "#control/version.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import { check } from "./check.ts";
import type { GlobalOptions } from "./context.ts";
import { countOption, durationOption, optionsOf } from "./context.ts";
import type { DiscardOptions } from "./discard.ts";
import { discard } from "./discard.ts";
import type { EventsOptions } from "./events.ts";
import { events } from "./events.ts";
import type { CopyOptions, RepairOptions } from "./group-commands.ts";
import { commandCopy, repair } from "./group-commands.ts";
import type { InspectGroup, InspectOptions } from "./inspect.ts";
import { exitCodes, report } from "./output.ts";
import type { DemoOptions } from "./demo.ts";
import type { ReloadOptions } from "./reload.ts";
import { reload } from "./reload.ts";
import type { ReplayOptions } from "./replay.ts";
import { replay } from "./replay.ts";
import type { ResizeOptions } from "./resize.ts";
import { resize } from "./resize.ts";
import type { RoleOptions, RoleVerb } from "./role-commands.ts";
import { changeRole } from "./role-commands.ts";
import type { ServeOptions } from "./serve.ts";
import type { StatusOptions } from "./status.ts";
import { status } from "./status.ts";
import type { VerifyOptions } from "./verify.ts";
import { verify } from "./verify.ts";
import type { WaitOptions } from "./wait.ts";
import { wait } from "./wait.ts";
import { why } from "./why.ts";

/** What the commands are built on; the tests put a stand-in for the engine here. */
export type World = {
  /** Loads the engine, which only `serve` needs: the other commands start faster without it. */
  readonly loadCreateSite: () => Promise<(options: SiteOptions) => Site>;
  readonly loadInspectGroup: () => Promise<InspectGroup>;
  /** The script that runs the command, for the children of `demo`. */
  readonly script: string;
};

type Action = (command: Command) => Promise<number>;

/** Runs the command line `args` (without node and script) and returns the exit code (INTERFACE, "Exit codes"). */
export async function run(args: readonly string[], world: World): Promise<number> {
  let code: number = exitCodes.done;
  const program = createProgram(world, (action) => async (command) => {
    code = await action(command);
    return code;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error: unknown) {
    // Commander has said by itself what is wrong with the command line; help and version end in 0.
    if (error instanceof CommanderError)
      return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    return report(error);
  }
}

function createProgram(world: World, ending: (action: Action) => Action): Command {
  const program = new Command("antipode")
    .description("Keeps block volumes alive through the loss of a disk, a link or a whole site.")
    .version(readVersion())
    .addOption(
      new Option("--config <file>", "the cluster file")
        .env("ANTIPODE_CONFIG")
        .default("antipode.yaml"),
    )
    .addOption(new Option("--site <name>", "the site to ask, or to run").env("ANTIPODE_SITE"))
    .option("--json", "print one JSON document")
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(asHint(text)) });
  const add = (usage: string, description: string, action: Action): Command => {
    const command = program.command(usage).description(description);
    const runToEnd = ending(action);
    return command.action(async () => {
      await runToEnd(command);
    });
  };
  addSiteCommands(add, world);
  addWatchCommands(add);
  addGroupCommands(add);
  addRoleCommands(add);
  return program;
}

type Add = (usage: string, description: string, action: Action) => Command;

function addSiteCommands(add: Add, world: World): void {
  add("check", "validate the file and say what each group promises", (command) =>
    check(optionsOf<GlobalOptions>(command)),
  );
  add("serve", "run a site in the foreground until SIGTERM", async (command) => {
    const [{ serve }, createSite] = await Promise.all([
      import("./serve.ts"),
      world.loadCreateSite(),
    ]);
    return serve(optionsOf<ServeOptions>(command), createSite);
  })
    .option("--trace <file>", "write one JSON line per host ack and peer message")
    .addOption(new Option("--stdin-pipe", "stop when standard input ends").hideHelp());
  add("demo", "run three sites on loopback, ready for an NBD client", async (command) => {
    const { demo } = await import("./demo.ts");
    return demo(optionsOf<DemoOptions>(command), world.script);
  }).option(
    "--folder <folder>",
    "where it keeps everything (default: .antipode/demo in the checkout)",
  );
  add(
    "inspect <path>",
    "show what lies in a data folder, whether its site runs or not",
    async (command) => {
      const [{ inspect }, inspectGroup] = await Promise.all([
        import("./inspect.ts"),
        world.loadInspectGroup(),
      ]);
      return inspect(String(command.args[0]), optionsOf<InspectOptions>(command), inspectGroup);
    },
  )
    .option("--journal", "also the entries of the journal")
    .option("--bitmap", "also the dirty regions and the open map")
    .option("--sets", "also the staged sets");
}

function addWatchCommands(add: Add): void {
  add("status [group]", "roles, states, lag, and what would be lost", (command) =>
    status(command.args[0], optionsOf<StatusOptions>(command)),
  )
    .option("--all", "every group, at every site that answers")
    .option("--watch", "look again each second")
    .option("--check", "exit 1 when a group is worse than its objective");
  add("why <group>", "name what blocks a group and the command that helps", (command) =>
    why(String(command.args[0]), optionsOf<GlobalOptions>(command)),
  );
  add(
    "wait <group>",
    "wait until a group's copies are in a state; exit 4 if not in time",
    (command) => wait(String(command.args[0]), optionsOf<WaitOptions>(command)),
  )
    .option("--copy <site>", "only this copy")
    .option("--state <state>", "this state instead of the best one")
    .addOption(
      new Option("--timeout <duration>", "how long to wait")
        .argParser(durationOption)
        .default(30_000, "30s"),
    );
  add("events [group]", "what happened: every change of state", (command) =>
    events(command.args[0], optionsOf<EventsOptions>(command)),
  ).option("--follow", "go on with what happens");
}

function addGroupCommands(add: Add): void {
  const descriptions = {
    pause: "stop feeding a copy",
    resume: "feed a paused or fractured copy again; what is dirty is resynced",
    resync: "doubt a copy: compare by hash and copy what differs",
  } as const;
  for (const verb of ["pause", "resume", "resync"] as const) {
    const command = add(`${verb} <group>`, descriptions[verb], (self) =>
      commandCopy(verb, String(self.args[0]), optionsOf<CopyOptions>(self)),
    )
      .option("--copy <site>", "the copy; may be left out when there is one")
      .option("--wait", "return when it is done")
      .option("--timeout <duration>", "give up after this long, exit 4", durationOption);
    if (verb === "resync") command.option("--full", "compare everything, not only what is dirty");
  }
  add(
    "verify <group>",
    "compare a copy with the primary, online, and say what differs",
    (command) => verify(String(command.args[0]), optionsOf<VerifyOptions>(command)),
  )
    .option("--copy <site>", "the copy; may be left out when there is one")
    .option("--repair", "bring what differs from the primary to the copy")
    .option("--timeout <duration>", "wait no longer, exit 4; the walk goes on", durationOption);
  add("repair <group>", "open a failed volume again and fill it", (command) =>
    repair(String(command.args[0]), optionsOf<RepairOptions>(command)),
  )
    .requiredOption("--volume <volume>", "the volume that failed")
    .option("--from <copy>", "not in this version")
    .option("--timeout <duration>", "give up after this long, exit 4", durationOption);
  add("reload [group]", "take the changes of the cluster file, with a plan", (command) =>
    reload(command.args[0], optionsOf<ReloadOptions>(command)),
  )
    .option("--dryRun, --dry-run", "print the plan and do nothing")
    .option("--timeout <duration>", "give up after this long, exit 4", durationOption);
  add("resize <volume> <size>", "grow GROUP/VOLUME at every site, the export last", (command) =>
    resize(String(command.args[0]), String(command.args[1]), optionsOf<ResizeOptions>(command)),
  )
    .option("--dryRun, --dry-run", "print the plan and do nothing")
    .option("--timeout <duration>", "give up after this long, exit 4", durationOption);
  add("discard <group>", "end a split brain: give up what --site wrote by itself", (command) =>
    discard(String(command.args[0]), optionsOf<DiscardOptions>(command)),
  )
    .option("--undo", "bring back what was given up, as it was")
    .option("--drop-branch", "let go what was kept of it, for good")
    .option("--force", "also where hosts are served, or nothing can be kept")
    .option("--dryRun, --dry-run", "print the plan and do nothing")
    .option("--timeout <duration>", "give up after this long, exit 4", durationOption);
  add("replay <group>", "at --site: bring its copy up from a bunker's log", (command) =>
    replay(String(command.args[0]), optionsOf<ReplayOptions>(command)),
  )
    .option("--from <bunker>", "the site whose log it is, or the path of journal.mirror")
    .option("--until <lsn>", "no set that has a later write", countOption)
    .option(
      "--stopAfter, --stop-after <duration>",
      "end it after this long, at the end of a set",
      durationOption,
    )
    .option("--cancel", "call it off: the old primary may go on, unless somebody has taken over")
    .option("--force", "with --cancel, at any site: also where the copy is gone for good")
    .option("--dryRun, --dry-run", "print the plan and do nothing")
    .option("--timeout <duration>", "give up after this long, exit 4", durationOption);
}

const roleVerbs: readonly (readonly [verb: RoleVerb, description: string, timeout: string])[] = [
  ["promote", "make the site of --site the primary (takeover)", "give up after this long, exit 4"],
  ["demote", "stop taking writes, drain, become secondary", "give up after this long, exit 4"],
  [
    "switchover",
    "hand the role to a copy: loses nothing, or changes nothing",
    "hosts wait at most so long (default: 30s); then nothing has changed, exit 4",
  ],
  [
    "failback",
    "wait until a site that has returned has everything, then switch over to it",
    "wait for it at most so long, exit 4",
  ],
];

function addRoleCommands(add: Add): void {
  for (const [verb, description, timeout] of roleVerbs) {
    const command = add(`${verb} [group]`, description, (self) =>
      changeRole(verb, self.args[0], optionsOf<RoleOptions>(self)),
    )
      .option("--all", "every group of the site, with one plan")
      .option("--dryRun, --dry-run", "print the plan and do nothing")
      .option("--timeout <duration>", timeout, durationOption);
    if (verb === "promote") command.option("--force", "accept the loss that the refusal names");
    if (verb === "switchover" || verb === "failback")
      command.requiredOption("--to <site>", "the site that shall be the primary");
  }
}

/** Commander's guess at a slip, as the hint that all our errors have. */
function asHint(text: string): string {
  return text.replace(/\n\(Did you mean (.*)\?\)/, "\nhint: did you mean $1?");
}
