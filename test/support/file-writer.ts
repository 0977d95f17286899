// Run by the story: writes files into a folder until it is killed or the disk fails, and tells of each one that is safe.
//
//   node file-writer.ts FOLDER SEED
//
// A line `NAME SHA256` is printed once the file's data and its name are on the disk (fsync of both). The last line says
// `stopped CODE`.
import { createHash } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";

const [folder = ".", seed = "1"] = process.argv.slice(2);
let random = Number(seed) >>> 0;

function next(below: number): number {
  random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((random / 2 ** 32) * below);
}

try {
  const folderFd = fs.openSync(folder, "r");
  for (let at = 0; ; at += 1) {
    const name = `file-${seed}-${at}`;
    const bytes = Buffer.alloc(1 + next(48 * 1024), `${name} ${next(2 ** 31)} `);
    const fd = fs.openSync(join(folder, name), "w");
    fs.writeSync(fd, bytes);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    fs.fsyncSync(folderFd);
    fs.writeSync(1, `${name} ${createHash("sha256").update(bytes).digest("hex")}\n`);
  }
} catch (error) {
  fs.writeSync(1, `stopped ${(error as NodeJS.ErrnoException).code ?? String(error)}\n`);
}
