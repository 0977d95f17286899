// Run by a test in a folder that is a file system of 256 KiB: writes until it is full, and prints how each request
// ended.
import { join } from "node:path";
import { KiB } from "#base/limits.ts";
import { openImage } from "#io/image.ts";

const folder = process.argv[2] ?? ".";
const device = openImage(join(folder, "image"), { bytes: 1024 * KiB });
if ("code" in device) throw new Error(device.message);
const image = device;

const outcomes: Record<string, string> = {};
const note = (name: string, failure: { code: string } | undefined): void => {
  outcomes[name] = failure?.code ?? "ok";
};
const filled = (bytes: number): Uint8Array => new Uint8Array(bytes).fill(1);

image.write(0, [filled(128 * KiB)], "firstWrite", note);
image.write(128 * KiB, [filled(256 * KiB), filled(256 * KiB)], "writeTooMuch", note);
image.zero(512 * KiB, 512 * KiB, false, "zeroTooMuch", note);
image.write(0, [filled(64 * KiB)], "rewrite", note);
image.zero(128 * KiB, 512 * KiB, true, "punch", note);
image.write(192 * KiB, [filled(64 * KiB)], "writeAfterPunch", note);
image.sync((failure) => {
  note("sync", failure);
  image.read(0, 4 * KiB, "read", (name, readFailure) => {
    note(name, readFailure);
    image.close();
    process.stdout.write(JSON.stringify(outcomes));
  });
});
