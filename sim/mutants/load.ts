import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import type { Mutant } from "./mutant.ts";

const root = new URL("../../", import.meta.url);

/**
 * Plants a bug: from now on, the module of the mutant is loaded with one place of its text replaced. Must be called
 * before anything imports the engine. The files on disk and the engine itself know nothing of it.
 *
 * @throws when the text is not there exactly once: a mutant that changes nothing, or something else, proves nothing.
 */
export function plant(mutant: Mutant): void {
  const url = new URL(mutant.file, root).href;
  patched(mutant, readFileSync(fileURLToPath(url), "utf8"));
  registerHooks({
    load(address, context, nextLoad) {
      const loaded = nextLoad(address, context);
      if (address !== url) return loaded;
      const { source } = loaded;
      if (source === undefined || source === null) throw new Error(`${address} came without text`);
      const text =
        typeof source === "string" ? source : new TextDecoder().decode(source as Uint8Array);
      return { ...loaded, source: patched(mutant, text) };
    },
  });
}

/** The text with the mutant's one place replaced. */
export function patched(mutant: Mutant, text: string): string {
  const parts = text.split(mutant.find);
  if (parts.length !== 2) {
    throw new Error(
      `mutant ${mutant.name}: the text to replace occurs ${parts.length - 1} times in ${mutant.file}, and must occur once:\n${mutant.find}`,
    );
  }
  return parts.join(mutant.replace);
}
