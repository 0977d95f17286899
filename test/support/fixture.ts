import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The bytes of a format as a released version wrote them (`v1/peer-frames.bin`). They stay for ever: what an old build
 * wrote must be readable by every later one. A missing file is made from what this build writes when
 * ANTIPODE_FIXTURES=write is set; one that is there is never changed.
 */
export function fixture(path: string, encode: () => Uint8Array): Uint8Array {
  const file = fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
  if (!existsSync(file)) {
    if (process.env["ANTIPODE_FIXTURES"] !== "write") {
      throw new Error(`test/fixtures/${path} is missing; a new one: ANTIPODE_FIXTURES=write`);
    }
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, encode());
  }
  return new Uint8Array(readFileSync(file));
}
