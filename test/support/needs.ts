// Tests that need a stranger's tool say so, by the Debian package that brings it.

/**
 * For `test(name, { skip: missing("fio", "nbdkit") }, ...)`: false where all the packages are there, otherwise the
 * reason to skip, with their names. The runner (tools/debian.ts) installs what it may and tells the tests what it could
 * not; in CI it fails instead, so that nothing is skipped there.
 */
export function missing(...packages: string[]): string | false {
  const absent = new Set((process.env["ANTIPODE_MISSING_TOOLS"] ?? "").split(","));
  const named = packages.filter((name) => absent.has(name));
  return named.length === 0 ? false : `not installed: ${named.join(" ")}`;
}
