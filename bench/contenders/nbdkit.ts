import { join } from "node:path";
import { nbdUri } from "../place.ts";
import { isListening, startServer } from "../processes.ts";
import type { Contender } from "./contender.ts";

/** nbdkit with its `file` plugin: the peer for a plain export. */
export const nbdkit: Contender = {
  title: "nbdkit file",
  async start(place) {
    const image = join(place.folder("nbdkit"), "image");
    place.createImage(image);
    const address = await place.address("nbdkit");
    const where =
      address.kind === "unix"
        ? ["--unix", address.path]
        : ["--ipaddr", "127.0.0.1", "--port", String(address.port)];
    const server = await startServer({
      name: "nbdkit",
      command: ["nbdkit", "--foreground", ...where, "file", image],
      isReady: () => isListening(address),
      signal: place.signal,
    });
    return {
      uri: nbdUri(address, ""),
      servers: [server],
      images: [image],
      checkMirror: async () => {},
      stop: () => server.stop(),
    };
  },
};
