import fs from "node:fs";

/**
 * A text that changes with every boot of the machine, as Linux gives it (random(4)). Empty where it cannot be read:
 * then every start must be taken for one after a power loss.
 */
export function readBootId(path = "/proc/sys/kernel/random/boot_id"): string {
  try {
    return fs.readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
