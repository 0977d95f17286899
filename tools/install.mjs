// Installs the dependencies, once, whoever asks and however many ask at the same time. Runs on Node 20.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const root = realpathSync(dirname(dirname(fileURLToPath(import.meta.url))));

const modules = join(root, "node_modules");
const stampFile = join(modules, ".antipode-stamp");
/** Type stripping without a warning came with this version; it serves where no pinned Node exists for the platform. */
const oldestNode = [24, 15];

/**
 * The Node that runs TypeScript: the pinned one. Never `node_modules/.bin/node`: npm 10 deletes that link together with
 * the package of the other architecture. Elsewhere than on Linux with glibc the caller's own Node serves if it is new
 * enough.
 */
export function nodeFile() {
  const pinned = join(modules, `node-linux-${process.arch}`, "bin", "node");
  if (process.platform === "linux" && existsSync(pinned)) return pinned;
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) {
    return process.execPath;
  }
  throw failure(
    `the pinned Node for ${process.platform}-${process.arch} is not installed and this Node is ${process.versions.node}`,
    `run with Node ${oldestNode.join(".")} or later`,
  );
}

/**
 * The environment for the programs of the house: the pinned Node is the first `node` on PATH, and a test that runs us
 * does not make inner test runs believe that they are its parts (they would skip every file and succeed).
 */
export function toolEnvironment() {
  const { NODE_TEST_CONTEXT: _dropped, ...environment } = process.env;
  const path = [dirname(nodeFile()), process.env.PATH ?? ""].join(delimiter);
  // Programs start in half the time when they need not be compiled again.
  return { NODE_COMPILE_CACHE: join(modules, ".cache", "antipode"), ...environment, PATH: path };
}

/** Makes node_modules fit the lock file. Throws with a hint when it cannot. Whatever npm prints goes to stderr. */
export async function install() {
  if (isInstalled()) return;
  const { unlock, descriptor } = await lock();
  try {
    // Whoever held the lock before us may have done all the work.
    if (isInstalled()) return;
    console.error("installing the dependencies ...");
    rmSync(stampFile, { force: true });
    await npmCi(descriptor);
    verifyNode();
    // Last of all: a stamp means that everything before it was finished.
    writeFileSync(stampFile, expectedStamp());
  } finally {
    unlock();
  }
}

/** The lock file's text and the platform decide what lies in node_modules. */
function expectedStamp() {
  const lockFile = readFileSync(join(root, "package-lock.json"));
  const hash = createHash("sha256").update(lockFile).digest("hex");
  return `${hash} ${process.platform}-${process.arch}\n`;
}

function isInstalled() {
  if (!existsSync(stampFile) || readFileSync(stampFile, "utf8") !== expectedStamp()) return false;
  try {
    nodeFile();
    return true;
  } catch {
    return false;
  }
}

/**
 * Waits until this process is the only one that installs here. The lock is an abstract Unix socket: the kernel frees it
 * when its last holder dies, so a killed install leaves nothing behind. npm holds it too, by `descriptor`: when we are
 * killed, npm goes on for a while, and must not meet another one. `unlock` gives our hold back.
 */
async function lock() {
  // Abstract sockets are a thing of Linux; elsewhere two first installs at once are left to their luck.
  if (process.platform !== "linux") return { unlock: () => {}, descriptor: "ignore" };
  const folder = createHash("sha256").update(root).digest("hex").slice(0, 32);
  const address = `\0antipode-install-${folder}`;
  let isAnnounced = false;
  for (;;) {
    const held = await tryLock(address);
    if (held !== null) return held;
    if (!isAnnounced) console.error("waiting for another install of this folder ...");
    isAnnounced = true;
    await holderGone(address);
  }
}

function tryLock(address) {
  return new Promise((resolve, reject) => {
    const waiting = new Set();
    const server = createServer((socket) => {
      waiting.add(socket);
      // A waiter that is killed resets its connection; that is its affair alone.
      socket.on("error", () => socket.destroy());
      socket.on("close", () => waiting.delete(socket));
    });
    server.on("error", (error) => (error.code === "EADDRINUSE" ? resolve(null) : reject(error)));
    server.listen(address, () => {
      const unlock = () => {
        server.close();
        for (const socket of waiting) socket.destroy();
      };
      // Node has no public name for the descriptor of a server.
      resolve({ unlock, descriptor: server._handle.fd });
    });
  });
}

/** A connection to the holder closes when it unlocks or dies, so that nobody has to poll. */
function holderGone(address) {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.on("error", () => {});
    socket.on("close", resolve);
    socket.resume();
  });
}

function npmCi(lockDescriptor) {
  // `--include` twice: NODE_ENV=production or an `omit` setting would otherwise leave out the tools and Node itself.
  // No dependency needs its install script (a test of the house sees to that), so none is run.
  const argv = ["ci", "--include=dev", "--include=optional", "--ignore-scripts"];
  return new Promise((resolve, reject) => {
    const npm = spawn("npm", argv, { cwd: root, stdio: ["ignore", 2, 2, lockDescriptor] });
    const stop = () => npm.kill("SIGTERM");
    process.on("exit", stop);
    npm.on("error", (cause) => {
      const hint = "npm comes with Node; install it, or put its folder on PATH";
      reject(failure(`could not start npm: ${cause.message}`, hint, cause));
    });
    npm.on("exit", (code, signal) => {
      process.off("exit", stop);
      if (code === 0) return resolve();
      const hint = "npm's own message is above; without a network, fill npm's cache first";
      reject(failure(`npm ${argv.join(" ")} ended with ${signal ?? `code ${code}`}`, hint));
    });
  });
}

/** A Node that is there but does not run (another C library) is found here, not in the middle of the first command. */
function verifyNode() {
  const file = nodeFile();
  const { status, stderr, error } = spawnSync(file, ["--version"], { encoding: "utf8" });
  if (status === 0) return;
  const reason = error?.message ?? stderr.trim();
  throw failure(`${file} does not run: ${reason}`, "the pinned Node needs Linux with glibc 2.28");
}

function failure(message, hint, cause) {
  return Object.assign(new Error(message, { cause }), { hint });
}
