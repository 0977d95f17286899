import { run } from "./program.ts";

// The antipode command. bin/antipode finds the right Node and starts this file.

// Whoever reads us may stop reading (`| head`), which is no error of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const code = await run(process.argv.slice(2), {
  loadCreateSite: async () => (await import("#site/site.ts")).createSite,
  loadInspectGroup: async () => (await import("./inspect-logs.ts")).inspectWithLogs,
  script: import.meta.filename,
});
// A command is over when its answer is out, whatever timers and sockets still hold on. To a reader that is slower than we
// are, the end of a long answer may still be on its way, and `exit` would cut it off.
await new Promise<void>((resolve) => void process.stdout.write("", () => resolve()));
process.exit(code);
