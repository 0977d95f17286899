import type { TestContext } from "node:test";

type Step = () => void | Promise<void>;

const stacks = new WeakMap<TestContext, Step[]>();

/** Undoes at the test's end what a helper did, the last one first: a disk goes after the site that uses it. */
export function onEnd(t: TestContext, step: Step): void {
  const known = stacks.get(t);
  if (known !== undefined) {
    known.push(step);
    return;
  }
  const steps = [step];
  stacks.set(t, steps);
  t.after(async () => {
    for (let next = steps.pop(); next !== undefined; next = steps.pop()) await next();
  });
}
