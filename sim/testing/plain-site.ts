import { limits } from "#base/limits.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { HostRequest, HostVolume } from "#ports/host-request.ts";
import type { GroupStatus } from "#site/api.ts";
import type { Site, SiteOptions } from "#site/site.ts";

/** Ways in which a plain site can break its promises, for tests of the checkers. */
export type Lie =
  | "none"
  | "flush without sync"
  | "ack before write"
  | "stale reads"
  | "lose a write";

/**
 * A site without any replication: an image behind a volume, the dumbest thing that keeps a disk's promises. The
 * simulator is tested on it before the engine is tested on the simulator; and each lie must be caught.
 */
export function plainSites(lie: Lie): (options: SiteOptions) => Site {
  // LSNs go on over restarts, as a durable reserve would make them do.
  const order = { lsn: 0 };
  return (options) => plainSite(options, lie, order);
}

// oxlint-disable-next-line max-lines-per-function -- a site in one closure, so that a test can be read at one place.
function plainSite({ config, name, ports }: SiteOptions, lie: Lie, order: { lsn: number }): Site {
  const group = [...config.groups.values()][0];
  if (group === undefined) throw new RangeError("a plain site needs a group");
  const isPrimary = group.primary === name;
  const images: BlockDevice[] = [];
  let serving = false;

  function submit(image: BlockDevice, request: HostRequest): void {
    const { offset, length, payload } = request;
    const fua = request.fua || group?.durability === "write";
    const ok = (): void => request.onReply(request, "ok", undefined);
    const acked = (): void => (fua && lie !== "flush without sync" ? image.sync(ok) : ok());
    switch (request.kind) {
      case "read": {
        const from = lie === "stale reads" && offset > 0 ? offset - 512 : offset;
        image.read(from, length, undefined, (_, failure, bytes) =>
          request.onReply(request, failure === undefined ? "ok" : "io", bytes),
        );
        return;
      }
      case "flush":
        if (lie === "flush without sync") ok();
        else image.sync(ok);
        return;
      default:
        order.lsn += 1;
        request.lsn = order.lsn;
        if (lie === "ack before write") ok();
        if (lie === "lose a write" && order.lsn % 50 === 0) return ok();
        if (request.kind === "zero")
          image.zero(
            offset,
            length,
            true,
            undefined,
            lie === "ack before write" ? () => undefined : acked,
          );
        else
          image.write(
            offset,
            payload,
            undefined,
            lie === "ack before write" ? () => undefined : acked,
          );
    }
  }

  function status(): GroupStatus {
    return {
      name: group?.name ?? "",
      role: isPrimary ? "primary" : "secondary",
      generation: 1,
      primary: group?.primary ?? "",
      durability: group?.durability ?? "flush",
      serving: serving && isPrimary,
      why: "",
      lsn: order.lsn,
      set: 0,
      volumes: [],
      journal: {
        bytesUsed: 0,
        bytesMax: 0,
        stalledWrites: 0,
        isPacing: false,
        overflowSeconds: null,
        diskFull: "",
      },
      copies: [],
      configuration: { revision: 1, differing: [] },
      openGranules: 0,
      requestsInFlight: 0,
    };
  }

  return {
    start(done) {
      for (const volume of group.volumes) {
        const image = ports.openImage(group.name, volume.name, {
          bytes: volume.bytes,
          isOnRecord: false,
        });
        if ("code" in image) return done(image.message);
        images.push(image);
      }
      serving = true;
      ports.events.emit({ kind: "serving", group: group.name, why: "" });
      done(undefined);
    },
    accept: () => ({ onData: () => undefined, onClose: () => undefined, onDrain: () => undefined }),
    exports: {
      list: () => [],
      find(exportName) {
        const index = group.volumes.findIndex(
          (volume) => `${group.name}/${volume.name}` === exportName,
        );
        const image = images[index];
        if (!isPrimary || image === undefined) return { kind: "unknown" };
        const volume: HostVolume = {
          group: group.name,
          name: exportName,
          index,
          bytes: image.bytes,
          writeBytesMax: limits.hostRequestBytesMax,
          submit: (request) => submit(image, request),
          extents: (_offset, _length, done) => done([]),
        };
        return { kind: "served", volume };
      },
      onDrop: () => undefined,
    },
    status: () => ({ site: name, version: "plain", groups: [status()] }),
    command: (_command, done) =>
      done({
        ok: false,
        code: "usage",
        message: "a plain site takes no commands",
        hint: undefined,
        plan: [],
      }),
    stop: (done) => done(),
  };
}
