import { setImmediate } from "node:timers/promises";
import { fileSuite } from "../acceptance/file-suite.ts";
import { createMemoryFolder } from "./memory-folder.ts";

fileSuite("memory", () => {
  const folder = createMemoryFolder(new Map([["broken", new Uint8Array(0)]]));
  folder.failSyncs("broken");
  return {
    openFolder: () => ({
      ...folder,
      list: () => folder.list().filter((name) => name !== "broken"),
    }),
    async settle(condition) {
      while (!condition()) await setImmediate();
    },
    brokenName: () => "broken",
    end: () => undefined,
  };
});
