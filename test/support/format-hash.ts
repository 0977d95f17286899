import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

/**
 * A fingerprint of a format: the drawing at the head of the file that writes it, and the values that the drawing leaves
 * to the code. It changes when either does.
 */
export function formatHash(source: URL, values: unknown): string {
  const text = readFileSync(source, "utf8");
  const fields = text.split("\n").filter((line) => /^\/\/ +\d+ {2}u\d+ /.test(line));
  if (fields.length === 0) throw new Error(`${source.pathname} has no drawing at its head`);
  const drawing = fields.map((line) => line.replace(/\s+/g, " "));
  return createHash("sha256")
    .update(JSON.stringify([drawing, values]))
    .digest("hex");
}
