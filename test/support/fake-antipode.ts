import { run } from "#cli/program.ts";
import { createFakeSite } from "./fake-site.ts";

// The antipode command with the stand-in engine of fake-site.ts, run by the tests as a process of its own.

const code = await run(process.argv.slice(2), {
  loadCreateSite: () => Promise.resolve(createFakeSite),
  loadInspectGroup: () =>
    Promise.resolve((folder) => ({
      generation: 3,
      files: folder.list().length,
      members: [{ site: "west", state: "synchronized" }],
      bitmap: [{ region: 1 }],
    })),
  script: import.meta.filename,
});
process.exit(code);
