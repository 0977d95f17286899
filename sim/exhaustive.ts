import { runScripts, scriptCount } from "./pool.ts";

const failuresShown = 20;

/** Every short script with every crash (`scripts.ts`), on several threads. How many runs there were, and how many failed. */
export async function runExhaustive(jobs: number): Promise<{ ran: number; failures: number }> {
  let ran = 0;
  let failures = 0;
  await runScripts(jobs, (report) => {
    ran += report.ran;
    failures += report.failures.length;
    if (failures - report.failures.length >= failuresShown) return;
    for (const { where, finding } of report.failures.slice(0, failuresShown)) {
      console.log(`FAILED ${where}: ${finding.id}: ${finding.message}`);
    }
  });
  console.log(`${scriptCount} scripts, ${ran} runs with a crash at every step, ${failures} failed`);
  return { ran, failures };
}
