import assert from "node:assert/strict";
import { test } from "node:test";
import { isoTime } from "./time.ts";

test("a time reads as Date writes it, on any day of the years that a clock may show", () => {
  const lastMs = Date.UTC(2400, 0, 1);
  // Not a multiple of a day: other hours, minutes and seconds each time.
  for (let ms = 0; ms < lastMs; ms += 86_399_123 * 3) {
    assert.equal(isoTime(ms), new Date(ms).toISOString());
  }
  for (const year of [1970, 1999, 2000, 2024, 2100, 2400]) {
    for (let day = 0; day < 366; day += 1) {
      const ms = Date.UTC(year, 0, 1 + day) - 1;
      if (ms >= 0) assert.equal(isoTime(ms), new Date(ms).toISOString());
    }
  }
});
