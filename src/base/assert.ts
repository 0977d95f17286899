/**
 * States what must be true inside our own code. A failed assertion is a bug of ours: the process stops, since recovery
 * is the ordinary start (DESIGN §5). Never used on input from outside.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailed(message);
}

/** Ends an exhaustive `switch`: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionFailed(`a case is missing for ${JSON.stringify(value)}`);
}

/** The value, which our own code knows to be there. */
export function must<T>(value: T | undefined | null, message: string): T {
  if (value === undefined || value === null) throw new AssertionFailed(message);
  return value;
}

/** A broken invariant of ours. Nothing catches it but the outermost edge, which prints it and exits. */
export class AssertionFailed extends Error {
  override readonly name = "AssertionFailed";
}
