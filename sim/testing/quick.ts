import { loadEngine } from "../engine.ts";
import { formatCounters } from "../counters.ts";
const engine = await loadEngine(process.env["MUTANT"]);
const [from, to, told] = [
  Number(process.argv[2]),
  Number(process.argv[3] ?? process.argv[2]),
  process.argv[4] === "v",
];
const counters = new Map<string, number>();
const byId = new Map<string, number[]>();
const t0 = performance.now();
const cpu0 = process.cpuUsage();
let events = 0;
for (let seed = from; seed <= to; seed += 1) {
  const t = performance.now();
  const r = engine.seed(seed, { told, counters });
  const ms = performance.now() - t;
  events += r.events;
  if (ms > 4000) console.log("slow", seed, ms.toFixed(0), r.events);
  for (const f of r.findings.slice(0, 1)) {
    const l = byId.get(f.id) ?? [];
    l.push(seed);
    byId.set(f.id, l);
    if (l.length <= 4) console.log(seed, f.id, f.message.slice(0, 600));
  }
  if (told) console.log(r.story.join("\n"));
}
const n = to - from + 1;
const cpu = process.cpuUsage(cpu0);
console.log(
  `${((cpu.user + cpu.system) / 1000 / n).toFixed(1)} cpu ms/seed; ${n} seeds, ${((performance.now() - t0) / n).toFixed(1)} ms/seed, ${(events / n).toFixed(0)} events/seed`,
);
for (const [id, seeds] of byId) console.log(id, seeds.length, seeds.slice(0, 12).join(" "));
if (process.env["COUNTS"]) console.log(formatCounters(counters).join("\n"));
if (told) {
  const { drawSwarm } = await import("../swarm.ts");
  const { createPrng } = await import("../prng.ts");
  const s = drawSwarm(createPrng(from).fork("swarm"));
  console.log(
    JSON.stringify({
      ...s,
      config: [...s.config.groups.values()].map((g) => ({ ...g, copies: [...g.copies.values()] })),
    }),
  );
}
