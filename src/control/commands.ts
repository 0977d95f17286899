import { z } from "zod";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { SiteCommand } from "#site/api.ts";

const copy = z.strictObject({ copy: z.string() });

/** The body of POST /v1/groups/GROUP/VERB for each verb. */
const bodies = {
  pause: copy,
  resume: copy,
  resync: z.strictObject({ copy: z.string(), full: z.boolean().default(false) }),
  repair: z.strictObject({ volume: z.string() }),
  verify: z.strictObject({ copy: z.string(), repair: z.boolean().default(false) }),
  promote: z.strictObject({
    force: z.boolean().default(false),
    dryRun: z.boolean().default(false),
  }),
  demote: z.strictObject({ dryRun: z.boolean().default(false) }),
  switchover: z.strictObject({
    to: z.string(),
    timeoutMs: z
      .number()
      .int()
      .positive()
      .max(limits.durationMsMax)
      .default(limits.handoverMsDefault),
    dryRun: z.boolean().default(false),
  }),
  discard: z.strictObject({
    what: z.enum(["give-up", "undo", "drop-branch"]).default("give-up"),
    force: z.boolean().default(false),
    dryRun: z.boolean().default(false),
  }),
  replay: z.strictObject({
    from: z.string(),
    until: z.int().min(0).optional(),
    stopAfterMs: z.number().min(0).optional(),
    cancel: z.boolean().default(false),
    force: z.boolean().default(false),
    dryRun: z.boolean().default(false),
  }),
  reload: z.strictObject({ dryRun: z.boolean().default(false) }),
  resize: z.strictObject({
    volume: z.string(),
    bytes: z.int().positive(),
    dryRun: z.boolean().default(false),
  }),
} as const;

export type Verb = keyof typeof bodies;

/** All verbs that a group can be told. */
export const verbs = Object.keys(bodies) as readonly Verb[];

/** The command that a request means. Throws an `AppError` of code `usage` when its body does not fit the verb. */
export function parseCommand(verb: Verb, group: string, body: unknown): SiteCommand {
  switch (verb) {
    case "pause":
    case "resume":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "resync":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "repair":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "verify":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "promote":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "demote":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "switchover":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "discard":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "replay":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "reload":
      return { kind: verb, group, ...checked(bodies[verb], body) };
    case "resize":
      return { kind: verb, group, ...checked(bodies[verb], body) };
  }
}

function checked<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const outcome = schema.safeParse(body);
  if (outcome.success) return outcome.data;
  const [issue] = outcome.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? "the body" : issue.path.join(".");
  throw new AppError("usage", `${place}: ${issue?.message ?? "does not fit"}`);
}
