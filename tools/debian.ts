// The Debian packages that the tests use: installed where we may, named where we may not.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

type DebianPackage = { readonly name: string; readonly probe: string };

const installMsMax = 600_000;

/** Names of listed packages that are not on this machine after we did what we may: as root they are installed. */
export function provideDebianPackages(root: string): string[] {
  const missing = missingPackages(root);
  const aptExists = isPresent("apt-get");
  if (missing.length === 0 || process.getuid?.() !== 0 || !aptExists) return missing;
  console.log(`installing ${missing.join(" ")}`);
  // A fresh image has no package lists, and two test runs at once must wait for each other.
  aptGet(["update", "-qq"]);
  aptGet(["install", "-y", "-qq", "--no-install-recommends", ...missing]);
  return missingPackages(root);
}

function missingPackages(root: string): string[] {
  return listPackages(root)
    .filter((each) => !isPresent(each.probe))
    .map((each) => each.name);
}

function listPackages(root: string): DebianPackage[] {
  return readFileSync(join(root, "tools", "debian-packages.txt"), "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => {
      const [name = "", probe = ""] = line.trim().split(/\s+/);
      return { name, probe };
    });
}

/** An absolute path, or a command; administrators' folders count too, which a user's PATH may leave out. */
function isPresent(probe: string): boolean {
  if (probe.startsWith("/")) return existsSync(probe);
  const folders = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`.split(":");
  return folders.some((folder) => existsSync(join(folder, probe)));
}

/** What fails here shows in the packages that are still missing afterwards; apt's own words go to the reader. */
function aptGet(argv: readonly string[]): void {
  spawnSync("apt-get", ["-o", "DPkg::Lock::Timeout=300", ...argv], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "inherit", "inherit"],
    timeout: installMsMax,
  });
}
