import { blockDeviceSuite, DEVICE_BYTES } from "../test/acceptance/block-device-suite.ts";
import { fileSuite } from "../test/acceptance/file-suite.ts";
import { transportSuite } from "../test/acceptance/transport-suite.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import { openSimFolder } from "./disk-files.ts";
import { openSimImage } from "./disk-image.ts";
import { smallWorld } from "./testing/small-world.ts";

// The simulator's ports keep the same promises as the real ones: the same suites judge both.

for (const imageUs of [0, 400]) {
  blockDeviceSuite(imageUs === 0 ? "simulated, page cache" : "simulated, asynchronous", () => {
    const world = smallWorld("device");
    const disk = world.newDisk("east", { imageUs });
    const process = world.newProcess("east");
    const open = (name: string): BlockDevice => {
      const image = openSimImage({
        disk,
        process,
        name,
        volume: name,
        bytes: DEVICE_BYTES,
        isOnRecord: false,
        watch: undefined,
      });
      if ("code" in image) throw new Error(image.message);
      return image;
    };
    return {
      open: () => open("whole"),
      openBroken: () => {
        const image = open("broken");
        return {
          ...image,
          sync(done) {
            disk.behaviour.failSyncs += 1;
            image.sync(done);
          },
        };
      },
      settle: world.settle,
      end: () => undefined,
    };
  });
}

fileSuite("simulated", () => {
  const world = smallWorld("files");
  const disk = world.newDisk("east");
  const process = world.newProcess("east");
  return {
    openFolder: () => {
      const folder = openSimFolder(disk, process, "bank");
      return {
        ...folder,
        open(name) {
          const file = folder.open(name);
          if ("code" in file || name !== "broken") return file;
          return {
            ...file,
            sync(done) {
              disk.behaviour.failSyncs += 1;
              file.sync(done);
            },
          };
        },
      };
    },
    settle: world.settle,
    brokenName: () => "broken",
    end: () => undefined,
  };
});

for (const splitChance of [0, 0.3]) {
  transportSuite(`simulated${splitChance === 0 ? "" : ", in pieces"}`, async (onConnection) => {
    const world = smallWorld("net", splitChance);
    const east = world.newProcess("east");
    const west = world.newProcess("west");
    world.network.listen("west", {
      process: () => west,
      powered: () => true,
      accept: onConnection,
    });
    world.network.listen("vacant", {
      process: () => undefined,
      powered: () => true,
      accept: onConnection,
    });
    return {
      transport: world.network.transport(east),
      address: "west:7101",
      vacantAddress: "vacant:7101",
      settle: world.settle,
      end: async () => undefined,
    };
  });
}
