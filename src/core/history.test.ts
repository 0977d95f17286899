import assert from "node:assert/strict";
import { test } from "node:test";
import { compareHistories, generationCounter, successorOf, withTenure } from "./history.ts";

const first = withTenure([], "east", "a");
const second = withTenure(first, "west", "b");
const blind = withTenure(first, "vault", "c");

test("a history relates to another as same, ahead, behind or diverged", () => {
  assert.equal(compareHistories(first, first), "same");
  assert.equal(compareHistories(second, first), "ahead");
  assert.equal(compareHistories(first, second), "behind");
  assert.equal(compareHistories([], first), "behind");
  assert.equal(compareHistories([], []), "same");
});

test("I28, I29: two blind promotions from one past have the same counter and still diverge", () => {
  assert.equal(generationCounter(second), generationCounter(blind));
  assert.equal(compareHistories(second, blind), "diverged");
  assert.equal(compareHistories(withTenure(blind, "vault", "d"), second), "diverged");
});

test("who took over from a tenure is the one that follows it", () => {
  const third = withTenure(second, "east", "e");
  assert.equal(successorOf(first, third)?.site, "west");
  assert.equal(successorOf(second, third)?.site, "east");
  assert.equal(successorOf(third, third), undefined);
});
