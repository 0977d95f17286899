import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { parseDuration } from "#config/units.ts";
import type { Config } from "#config/types.ts";
import { loadConfig } from "#control/load-config.ts";
import type { Aim } from "./find-site.ts";

/** The options that every command takes (INTERFACE, "Commands"). */
export type GlobalOptions = {
  readonly config: string;
  readonly site?: string;
  readonly json?: boolean;
};

/** All options of a command, the global ones among them. */
export function optionsOf<T>(command: Command): T & GlobalOptions {
  return command.optsWithGlobals();
}

/** Reads the cluster file and says which site a command is for. */
export function aimOf(options: GlobalOptions): Aim & { readonly config: Config } {
  return { config: loadConfig(options.config), site: options.site };
}

/** A whole number of the command line, such as an LSN; commander turns the refusal into a usage error. */
export function countOption(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 0 && text.trim() !== "") return count;
  throw new InvalidArgumentError("it must be a whole number.");
}

/** A duration of the command line in milliseconds; commander turns the refusal into a usage error. */
export function durationOption(text: string): number {
  const parsed = parseDuration(text);
  if (parsed.ok) return parsed.value;
  throw new InvalidArgumentError(`${parsed.reason}: ${parsed.hint}.`);
}
