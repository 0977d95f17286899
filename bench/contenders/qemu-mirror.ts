import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { nbdUri, type Place, type ServerAddress } from "../place.ts";
import { isListening, type Server, startServer } from "../processes.ts";
import { type Contender, type Running, stopAll } from "./contender.ts";
import { connectQmp, type Qmp } from "./qmp.ts";

const readyMsMax = 120_000;
const pollMs = 100;

/**
 * QEMU's own synchronous mirror: a storage daemon whose `blockdev-mirror` (`sync=full`, `copy-mode=write-blocking`) feeds
 * the NBD export of a second one. A write is answered when both have it in their page cache, as with Antipode. The job is
 * left in the state `ready`, in which every write goes to both.
 */
export const qemuMirror: Contender = {
  title: "QEMU mirror",
  start: (place) => start(place, "write-blocking"),
};

/**
 * The same in the background: a write is answered when the source has it, and the copy follows in no order. After a run it is
 * waited for.
 */
export const qemuBackground: Contender = {
  title: "QEMU background",
  start: (place) => start(place, "background"),
};

async function start(place: Place, copyMode: "write-blocking" | "background"): Promise<Running> {
  const copyAddress = await place.address("qemu-copy");
  const copy = await startDaemon(place, "copy", copyAddress);
  const sourceAddress = await place.address("qemu-source");
  const source = await startDaemon(place, "source", sourceAddress);
  const qmp = await connectQmp(source.monitor);
  await qmp.run("blockdev-add", {
    driver: "nbd",
    "node-name": "target",
    export: "disk",
    server: serverOf(copyAddress),
  });
  await qmp.run("blockdev-mirror", {
    "job-id": "mirror",
    device: "disk",
    target: "target",
    sync: "full",
    "copy-mode": copyMode,
  });
  await waitUntilReady(qmp);
  return {
    uri: nbdUri(sourceAddress, "disk"),
    servers: [source.server, copy.server],
    images: [source.image, copy.image],
    async checkMirror() {
      if (!(await isReady(qmp))) throw new AppError("failed", "QEMU's mirror is no longer ready");
      if (copyMode === "background") await waitUntilEqual(qmp);
    },
    async stop() {
      qmp.close();
      await stopAll([source.server, copy.server]);
    },
  };
}

type Daemon = { readonly server: Server; readonly image: string; readonly monitor: string };

async function startDaemon(
  place: Place,
  role: "source" | "copy",
  address: ServerAddress,
): Promise<Daemon> {
  const folder = place.folder(`qemu-${role}`);
  const image = join(folder, "image");
  // The job's full copy fills the target.
  if (role === "source") place.createImage(image);
  else place.createEmptyImage(image);
  const monitor = place.controlSocket(`qemu-${role}`);
  const nbd =
    address.kind === "unix"
      ? `addr.type=unix,addr.path=${address.path}`
      : `addr.type=inet,addr.host=127.0.0.1,addr.port=${address.port}`;
  // Options work in their order: when the export is there, so is the monitor.
  const argv = [
    ["--chardev", `socket,id=monitor,path=${monitor},server=on,wait=off`],
    ["--monitor", "chardev=monitor"],
    // Zeros of the full copy stay holes, or a sparse volume would take its whole size on this disk.
    ["--blockdev", `driver=file,node-name=file,filename=${image},discard=unmap`],
    ["--blockdev", "driver=raw,node-name=disk,file=file,discard=unmap"],
    ["--nbd-server", nbd],
    ["--export", "type=nbd,id=export,node-name=disk,name=disk,writable=on"],
  ];
  const server = await startServer({
    name: role,
    command: ["qemu-storage-daemon", ...argv.flat()],
    isReady: () => isListening(address),
    signal: place.signal,
  });
  return { server, image, monitor };
}

function serverOf(address: ServerAddress): Readonly<Record<string, string>> {
  return address.kind === "unix"
    ? { type: "unix", path: address.path }
    : { type: "inet", host: "127.0.0.1", port: String(address.port) };
}

async function waitUntilReady(qmp: Qmp): Promise<void> {
  const deadlineMs = performance.now() + readyMsMax;
  while (!(await isReady(qmp))) {
    if (performance.now() > deadlineMs) {
      throw new AppError("timeout", `QEMU's mirror was not ready within ${readyMsMax} ms`);
    }
    await sleep(pollMs);
  }
}

/** The background job has nothing left to copy. */
async function waitUntilEqual(qmp: Qmp): Promise<void> {
  const deadlineMs = performance.now() + readyMsMax;
  for (;;) {
    const job = await jobOf(qmp);
    if (job.offset === job.len) return;
    if (performance.now() > deadlineMs) {
      throw new AppError("timeout", `QEMU's copy has not caught up within ${readyMsMax} ms`);
    }
    await sleep(pollMs);
  }
}

async function isReady(qmp: Qmp): Promise<boolean> {
  const job = await jobOf(qmp);
  return job.ready && job.status === "ready";
}

type Job = {
  readonly device: string;
  readonly ready: boolean;
  readonly status: string;
  readonly offset: number;
  readonly len: number;
};

async function jobOf(qmp: Qmp): Promise<Job> {
  const jobs = (await qmp.run("query-block-jobs")) as readonly Job[];
  const job = jobs.find(({ device }) => device === "mirror");
  if (job === undefined) throw new AppError("failed", "QEMU's mirror job has ended");
  return job;
}
