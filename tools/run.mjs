// The command behind every npm script, and the only file (with install.mjs) that the machine's own Node has to
// understand: Node 20 or later. It installs what is missing, then hands over to the pinned Node, which runs TypeScript.
//
// Plain JavaScript and no pre-scripts, because npm may be told to ignore scripts, and because a shell that starts `node`
// twice remembers where the first one was. package.json says `exec node tools/run.mjs`, so that a signal to npm's shell
// reaches this process, which passes it on.

import { spawn } from "node:child_process";
import { constants } from "node:os";
import { join } from "node:path";
import { install, nodeFile, root, toolEnvironment } from "./install.mjs";

/** What each npm script runs: a program (TypeScript or a launcher), then its arguments, the user's own go last. */
const commands = {
  install: null,
  start: ["bin/antipode", "demo"],
  test: ["tools/test.ts"],
  check: ["tools/test.ts", "--only", "check"],
  sim: ["sim/main.ts"],
  bench: ["bench/main.ts"],
  claims: ["tools/claims.ts"],
  format: ["node_modules/oxfmt/bin/oxfmt", "."],
};

const [name = "", ...userArguments] = process.argv.slice(2);
const command = commands[name];
if (command === undefined) {
  console.error(`error: ${name === "" ? "no command" : `'${name}' is not a command`}`);
  console.error(`hint: node tools/run.mjs ${Object.keys(commands).join(" | ")}`);
  process.exit(2);
}

let child = null;
for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"]) {
  // Installing ends with the signal; a started program decides itself when it is done, and we report its answer.
  process.on(signal, () =>
    child === null ? process.exit(exitCodeOf(signal)) : child.kill(signal),
  );
}

try {
  await install();
} catch (error) {
  console.error(`error: ${error.message}`);
  if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
  process.exit(1);
}
if (command !== null) handOver(command);

function handOver([program, ...fixedArguments]) {
  const path = join(root, program);
  const isLauncher = program.startsWith("bin/");
  const argv = [...(isLauncher ? [] : [path]), ...fixedArguments, ...userArguments];
  // A program of the house runs at the root, whatever folder npm was called from.
  child = spawn(isLauncher ? path : nodeFile(), argv, {
    cwd: root,
    env: toolEnvironment(),
    stdio: "inherit",
  });
  child.on("error", (error) => {
    console.error(`error: could not start ${program}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(code ?? exitCodeOf(signal)));
}

/** What a shell reports for a process ended by this signal. */
function exitCodeOf(signal) {
  return 128 + constants.signals[signal];
}
