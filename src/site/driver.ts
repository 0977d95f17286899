// What the drivers of the machines share: events go in one at a time, and effects are performed in their order.

/** A machine in the hands of its driver. It and its functions are made once; handing an event over allocates nothing. */
export type Driver<Event, Effect> = {
  readonly step: (event: Event, out: Effect[]) => void;
  readonly perform: (effect: Effect) => void;
  readonly inbox: Event[];
  readonly effects: Effect[];
  /** A step or its effects are under way. */
  isRunning: boolean;
};

/** `step` is the machine's; `perform` does one effect, and may hand over events while it does. */
export function createDriver<Event, Effect>(
  step: Driver<Event, Effect>["step"],
  perform: Driver<Event, Effect>["perform"],
): Driver<Event, Effect> {
  return { step, perform, inbox: [], effects: [], isRunning: false };
}

/** Hands an event to the machine and performs the effects of its step. */
export function drive<Event, Effect>(driver: Driver<Event, Effect>, event: Event): void {
  const { inbox, effects } = driver;
  inbox.push(event);
  if (driver.isRunning) return; // A port answered at once: the current step ends first.
  driver.isRunning = true;
  // The inbox grows while it is worked off; reading by index costs no shifting.
  for (let i = 0; i < inbox.length; i += 1) {
    const next = inbox[i];
    if (next === undefined) continue;
    driver.step(next, effects);
    for (const effect of effects) driver.perform(effect);
    effects.length = 0;
  }
  inbox.length = 0;
  driver.isRunning = false;
}
