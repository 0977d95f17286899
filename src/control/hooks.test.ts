import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Config } from "#config/types.ts";
import type { EventRecord } from "#ports/events.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { withHooks } from "./hooks.ts";

function hooked(
  folder: string,
  body: string,
): { emit: (event: EventRecord) => void; seen: Promise<EventRecord> } {
  const program = join(folder, "hook");
  fs.writeFileSync(program, `#!/bin/sh\n${body}\n`, { mode: 0o700 });
  const { promise, resolve } = Promise.withResolvers<EventRecord>();
  const groups = new Map([["bank", { hooks: { onPromote: program } }]]);
  const events = withHooks({
    config: () => ({ groups }) as unknown as Config,
    site: "west",
    events: { emit: (event) => (event.kind === "hook" ? resolve(event) : undefined) },
    onTrouble: () => undefined,
  });
  return { emit: (event) => events.emit(event), seen: promise };
}

const promoted: EventRecord = { kind: "role", group: "bank", to: "primary", why: "promoted" };

test("a hook gets the event as JSON on its standard input, and its failure is told", async (t) => {
  const folder = makeTempFolder();
  t.after(() => removeTempFolder(folder));
  const { emit, seen } = hooked(folder, `cat > ${folder}/seen; exit 3`);
  emit(promoted);
  assert.match((await seen).why, /exit code 3/);
  assert.deepEqual(JSON.parse(fs.readFileSync(join(folder, "seen"), "utf8")), {
    ...promoted,
    site: "west",
  });
});

test("only a change of this group's role runs its hook", async (t) => {
  const folder = makeTempFolder();
  t.after(() => removeTempFolder(folder));
  const { emit, seen } = hooked(folder, `echo run >> ${folder}/runs; exit 1`);
  emit({ ...promoted, group: "other" });
  emit({ ...promoted, kind: "copy" });
  emit({ ...promoted, to: "demoted" });
  emit(promoted);
  await seen;
  assert.equal(fs.readFileSync(join(folder, "runs"), "utf8"), "run\n");
});
