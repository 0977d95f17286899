// The runner behind `npm start` and `npm test`, and the launcher bin/antipode, each in a small checkout of its own
// where npm is a script of ours.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { root } from "../../tools/files.ts";
import { until } from "../support/until.ts";

/** Stands for the real npm: says that it was asked, waits for leave, and "installs" the Node that runs this test. */
const fakeNpm = `#!/bin/sh
echo "$@" >> npm.log
looks=0
while [ ! -e npm.go ]; do
  looks=$((looks + 1))
  [ $looks -lt 500 ] || exit 1
  sleep 0.02
done
mkdir -p node_modules/node-linux-${process.arch}/bin
ln -sf "${process.execPath}" node_modules/node-linux-${process.arch}/bin/node
`;

/** Prints how it was started, then stays until it is told to go, and leaves in a way of its own. */
const stub = `
process.on("SIGTERM", () => process.exit(7));
process.on("SIGHUP", () => process.exit(8));
setInterval(() => {}, 1000);
const { pid, argv, execArgv, env } = process;
console.log(JSON.stringify({ pid, args: argv.slice(2), execArgv, path: env.PATH, context: env.NODE_TEST_CONTEXT }));
`;

test("two installs at once: npm runs once, the second one waits, both succeed", async (t) => {
  const checkout = makeCheckout(t);
  const first = start(t, checkout, ["tools/run.mjs", "install"]);
  await first.says("installing");
  const second = start(t, checkout, ["tools/run.mjs", "install"]);
  await second.says("waiting for another install");
  writeFileSync(join(checkout, "npm.go"), "");
  assert.deepEqual(await Promise.all([first.code(), second.code()]), [0, 0]);
  assert.equal(
    readFileSync(join(checkout, "npm.log"), "utf8"),
    "ci --include=dev --include=optional --ignore-scripts\n",
  );
});

test("an install that fails leaves no stamp, says what to do, and the next one tries again", async (t) => {
  const checkout = makeCheckout(t);
  writeFileSync(join(checkout, "bin/npm"), "#!/bin/sh\nexit 3\n");
  const failing = start(t, checkout, ["tools/run.mjs", "install"]);
  assert.equal(await failing.code(), 1);
  assert.match(failing.output(), /error: npm ci .* ended with code 3\nhint: /);
  writeFileSync(join(checkout, "bin/npm"), fakeNpm);
  writeFileSync(join(checkout, "npm.go"), "");
  assert.equal(await start(t, checkout, ["tools/run.mjs", "install"]).code(), 0);
});

test("a runner killed while installing does not let the next one into npm's way", async (t) => {
  const checkout = makeCheckout(t);
  const killed = start(t, checkout, ["tools/run.mjs", "install"]);
  await killed.says("installing");
  await until("npm runs", () => existsSync(join(checkout, "npm.log")));
  // Its npm lives on, with its output, so only the exit can be waited for.
  const exited = once(killed.process, "exit");
  killed.process.kill("SIGKILL");
  await exited;
  const next = start(t, checkout, ["tools/run.mjs", "install"]);
  await next.says("waiting for another install");
  writeFileSync(join(checkout, "npm.go"), "");
  assert.equal(await next.code(), 0);
});

test("the runner passes signals, arguments and exit codes on, and puts the pinned Node first", async (t) => {
  const checkout = makeCheckout(t);
  writeFileSync(join(checkout, "npm.go"), "");
  for (const [signal, code] of [
    ["SIGTERM", 7],
    ["SIGHUP", 8],
    ["SIGINT", 130],
  ] as const) {
    const runner = start(t, checkout, ["tools/run.mjs", "bench", "--fast"]);
    const seen = await runner.reports();
    assert.deepEqual(seen.args, ["--fast"]);
    assert.equal(seen.context, undefined, "an inner test run takes itself for a part of ours");
    const pinned = join(checkout, "node_modules", `node-linux-${process.arch}`, "bin");
    assert.equal(seen.path.split(":")[0], pinned);
    runner.process.kill(signal);
    assert.equal(await runner.code(), code);
  }
});

test("bin/antipode works from any folder and through a symlink, installs first, and becomes Node", async (t) => {
  const checkout = makeCheckout(t);
  writeFileSync(join(checkout, "npm.go"), "");
  const link = join(checkout, "elsewhere");
  symlinkSync("bin/antipode", link);
  const launched = start(t, checkout, ["status", "a b"], link);
  const seen = await launched.reports();
  assert.deepEqual(seen.args, ["status", "a b"]);
  assert.equal(seen.pid, launched.process.pid);
  assert.deepEqual(seen.execArgv, ["--max-semi-space-size=4", "--heap-growing-percent=250"]);
  assert.equal(
    launched.stdout().split("\n").length,
    2,
    "nothing but the command itself is on stdout",
  );
  launched.process.kill("SIGTERM");
  assert.equal(await launched.code(), 7);
});

type Started = {
  readonly process: ChildProcess;
  readonly stdout: () => string;
  /** stdout and stderr. */
  readonly output: () => string;
  /** Resolves when the output has this text; rejects when the process ends without it. */
  readonly says: (text: string) => Promise<void>;
  /** What the stub printed. */
  readonly reports: () => Promise<Report>;
  /** Exit code once everything is printed; null when a signal ended it. */
  readonly code: () => Promise<number | null>;
};

type Report = {
  pid: number;
  args: string[];
  execArgv: string[];
  path: string;
  context: string | undefined;
};

function makeCheckout(t: TestContext): string {
  const checkout = mkdtempSync(join(tmpdir(), "antipode-run-"));
  t.after(() => rmSync(checkout, { recursive: true, force: true }));
  for (const file of ["tools/run.mjs", "tools/install.mjs", "bin/antipode"]) {
    mkdirSync(dirname(join(checkout, file)), { recursive: true });
    copyFileSync(join(root, file), join(checkout, file));
  }
  writeFileSync(join(checkout, "package.json"), `{ "type": "module" }`);
  writeFileSync(join(checkout, "package-lock.json"), "{}");
  writeFileSync(join(checkout, "bin/npm"), fakeNpm, { mode: 0o755 });
  for (const program of ["src/cli/main.ts", "bench/main.ts"]) {
    mkdirSync(dirname(join(checkout, program)), { recursive: true });
    writeFileSync(join(checkout, program), stub);
  }
  return checkout;
}

function start(
  t: TestContext,
  checkout: string,
  argv: readonly string[],
  command: string = process.execPath,
): Started {
  const path = `${join(checkout, "bin")}:${dirname(process.execPath)}:${process.env["PATH"] ?? ""}`;
  const child = spawn(command, argv, {
    cwd: command === process.execPath ? checkout : "/",
    env: { ...process.env, PATH: path, NODE_TEST_CONTEXT: "child-v8" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data) => (stdout += String(data)));
  child.stderr.on("data", (data) => (stderr += String(data)));
  const closed = once(child, "close");
  const output = (): string => stdout + stderr;
  const says = (text: string): Promise<void> =>
    until(`it says '${text}'`, () => {
      if (output().includes(text)) return true;
      assert.equal(child.exitCode, null, `ended without '${text}': ${output()}`);
      return false;
    });
  return {
    process: child,
    stdout: () => stdout,
    output,
    says,
    reports: async () => {
      await says(`"args"`);
      return JSON.parse(stdout) as Report;
    },
    code: async () => (await closed)[0] as number | null,
  };
}
