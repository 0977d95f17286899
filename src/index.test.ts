import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { AppError, commandGroup, loadConfig, readEvents, readStatus, startSite } from "antipode";
import { makeTempFolder, removeTempFolder } from "../test/support/temp-folder.ts";

const text = `cluster: c
sites:
  east: { peer: "unix:./peer", api: "unix:./api", nbd: "unix:./nbd", data: ./east }
groups:
  bank: { primary: east, volumes: { data: { size: 1MiB } } }
`;

test("the library loads a configuration, runs a site in this process, asks and commands it", async () => {
  const folder = makeTempFolder();
  try {
    const configPath = join(folder, "antipode.yaml");
    fs.writeFileSync(configPath, text);
    const site = await startSite({ configPath, site: "east" });
    try {
      const api = loadConfig(configPath).sites.get("east")?.api ?? "";
      const status = await readStatus(api);
      assert.equal(status.groups[0]?.role, "primary");
      assert.equal(
        status.groups[0]?.volumes[0]?.uri,
        `nbd+unix:///bank/data?socket=${join(folder, "nbd")}`,
      );
      const [event] = await readEvents(api, { group: "bank" });
      assert.equal(event?.site, "east");
      const outcome = await commandGroup(api, { kind: "pause", group: "bank", copy: "west" });
      assert.equal(outcome.ok, false);
    } finally {
      await site.stop();
    }
    await assert.rejects(startSite({ configPath, site: "west" }), AppError);
  } finally {
    removeTempFolder(folder);
  }
});
