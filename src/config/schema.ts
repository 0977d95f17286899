import { z } from "zod";
import { limits } from "#base/limits.ts";
import type { Parsed } from "./units.ts";
import { formatDuration, parseDuration, parseSize } from "./units.ts";

// The shape of antipode.yaml, key by key, as INTERFACE promises it: also the keys whose capability this version does
// not have yet, so that a file written for a later version is told apart from a slip of the pen. What keys mean
// together is checked by rules.ts; what a later version will take is refused by later.ts.

/** What a problem's hint rides in through zod: a custom issue has no field of its own for it. */
type IssueParams = { readonly hint: string };

const name = z.string();
const path = z.string().min(1);
const address = z.string();

const size = quantity(parseSize);
const duration = quantity((value) => {
  const parsed = parseDuration(value);
  if (!parsed.ok || parsed.value <= limits.durationMsMax) return parsed;
  const hint = `at most ${formatDuration(limits.durationMsMax)} fit`;
  return { ok: false, reason: `${JSON.stringify(value)} is too long`, hint };
});
const rate = quantity((value) =>
  parseSize(typeof value === "string" ? value.replace(/\/s$/, "") : value),
);

const site = z.strictObject({
  peer: address,
  api: address,
  nbd: z.union([address, z.array(address)]).optional(),
  data: path,
  reach: z.record(name, address).optional(),
});

const volume = z.strictObject({
  size,
  at: z.record(name, path).optional(),
  trustDevice: z.boolean().optional(),
});

const copy = z.strictObject({
  mode: z.enum(["sync", "async", "cycle", "bunker"]),
  onLoss: z.enum(["continue", "stall", "fail", "override", "off"]).optional(),
  ackTimeout: duration.optional(),
  resume: z.enum(["auto", "manual"]).optional(),
  preserve: z.strictObject({ bytesMax: size }).optional(),
  rpo: duration.optional(),
  seal: z
    .strictObject({
      every: duration.optional(),
      bytes: size.optional(),
      onFlush: z.union([z.boolean(), z.literal("only")]).optional(),
    })
    .optional(),
  staging: z.enum(["durable", "memory"]).optional(),
  every: duration.optional(),
  ackAt: z.enum(["switch", "journal"]).optional(),
  through: name.optional(),
  connections: z.int().min(1).max(64).optional(),
  replay: z.enum(["manual", "auto"]).optional(),
  replayAfter: duration.optional(),
  compress: z.enum(["off", "on", "auto"]).optional(),
  transport: z.enum(["tcp", "iscsi", "fc"]).optional(),
  probe: duration.optional(),
  timeout: duration.optional(),
  rate: rate.optional(),
});

const group = z.strictObject({
  primary: name,
  volumes: z.record(name, volume),
  copies: z.record(name, copy).optional(),
  durability: z.enum(["flush", "write"]).optional(),
  journal: z
    .strictObject({
      size: size.optional(),
      overflow: z.enum(["trip", "stall", "fail"]).optional(),
      mirror: path.optional(),
      replay: z.enum(["manual", "auto"]).optional(),
    })
    .optional(),
  hooks: z.strictObject({ onPromote: path.optional(), onDemote: path.optional() }).optional(),
  region: size.optional(),
});

/** The whole file. Sizes come out in bytes, times in milliseconds; names, addresses and paths as they were written. */
export const fileSchema = z.strictObject({
  cluster: name,
  secret: path.optional(),
  insecure: z.boolean().optional(),
  sites: z.record(name, site),
  groups: z.record(name, group).optional(),
});

/** The file after its shape was checked, before its rules were. */
export type RawFile = z.output<typeof fileSchema>;
export type RawSite = RawFile["sites"][string];
export type RawGroup = NonNullable<RawFile["groups"]>[string];
export type RawVolume = RawGroup["volumes"][string];
export type RawCopy = NonNullable<RawGroup["copies"]>[string];

/** The keys that may stand at a place of the file, for hints at unknown ones; empty where names are free. */
export function knownKeys(place: readonly PropertyKey[]): readonly string[] {
  let schema: z.ZodType | undefined = fileSchema;
  for (const step of place) schema = child(unwrap(schema), step);
  const found = unwrap(schema);
  return found instanceof z.ZodObject ? Object.keys(found.shape) : [];
}

function child(schema: z.ZodType | undefined, step: PropertyKey): z.ZodType | undefined {
  if (schema instanceof z.ZodObject) return schema.shape[String(step)];
  if (schema instanceof z.ZodRecord) return schema.valueType as z.ZodType;
  return undefined;
}

function unwrap(schema: z.ZodType | undefined): z.ZodType | undefined {
  return schema instanceof z.ZodOptional ? (schema.unwrap() as z.ZodType) : schema;
}

/** A quantity with a unit, which comes out as a number. Its parser knows best why a text is none. */
function quantity(parse: (value: unknown) => Parsed) {
  return z.union([z.string(), z.number()]).transform((written, context) => {
    const parsed = parse(written);
    if (parsed.ok) return parsed.value;
    const params: IssueParams = { hint: parsed.hint };
    context.addIssue({ code: "custom", message: parsed.reason, params, input: written });
    return z.NEVER;
  });
}
