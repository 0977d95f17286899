import fs from "node:fs";
import { join } from "node:path";

/** The version of this checkout, as package.json has it. */
export function readVersion(): string {
  const path = join(import.meta.dirname, "../../package.json");
  const value: unknown = JSON.parse(fs.readFileSync(path, "utf8"));
  const version =
    typeof value === "object" && value !== null && "version" in value ? value.version : "";
  return typeof version === "string" ? version : "";
}
