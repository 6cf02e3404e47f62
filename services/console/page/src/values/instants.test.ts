import assert from "node:assert/strict";
import { test } from "node:test";
import { age, duration, exact, isOld, minute, relative, timeOfDay } from "./instants";

const AT = Date.UTC(2013, 3, 24, 6, 0, 5) / 1000;

test("instants are written in UTC", () => {
  assert.deepEqual([exact(AT), minute(AT), timeOfDay(AT)], ["2013-04-24 06:00:05 UTC", "2013-04-24 06:00", "06:00:05"]);
});

test("an instant beyond all calendars is no error", () => {
  assert.match(exact(1e20), /UTC$/);
});

test("durations have at most two units", () => {
  const written = [0, 0.2, 41, 130, 7800, 11100, 90000, 259200, 270000, 2592000].map(duration);
  assert.deepEqual(written, ["0 s", "0.2 s", "41 s", "2 min", "2 h 10 min", "3 h 5 min", "25 h", "3 d", "3 d 3 h", "30 d"]);
  assert.equal(duration(-41), "−41 s");
  assert.equal(duration(null), "–");
});

test("an instant is seen from now, both ways", () => {
  assert.deepEqual([2, 12, 130, 7800, 400000].map((ago) => relative(AT - ago, AT)), ["now", "12 s ago", "2 min ago", "2 h ago", "4 d ago"]);
  assert.equal(relative(AT + 7300, AT), "in 2 h");
});

test("what is older than ten seconds is old, and so is what was never read", () => {
  assert.deepEqual([isOld(AT - 10, AT), isOld(AT - 10.1, AT), isOld(null, AT)], [false, true, true]);
  assert.equal(age(AT + 3, AT), 0);
});
