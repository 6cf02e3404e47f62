import assert from "node:assert/strict";
import { test } from "node:test";
import { documentsOf, href, routeOf, titleOf } from "./routes";

test("every page has a path", () => {
  assert.deepEqual(routeOf("/"), { page: "now" });
  assert.deepEqual(routeOf("/deployments/flight-delay"), { page: "deployment", name: "flight-delay" });
  assert.deepEqual(routeOf("/deployments/flight-delay/versions/3"), { page: "version", name: "flight-delay", version: "3" });
  assert.deepEqual(routeOf("/deployments/flight-delay/findings/ab12"), { page: "finding", name: "flight-delay", id: "ab12" });
  assert.deepEqual(routeOf("/deployments/a/decisions"), { page: "decision", name: "a", wanted: "" });
  assert.deepEqual(routeOf("/dead-letters"), { page: "dead-letters" });
  assert.deepEqual(routeOf("/records/registry.facts/0/17"), { page: "record", place: "registry.facts/0/17" });
});

test("what has no page is missing, not the first page", () => {
  for (const path of ["/deployments", "/nothing", "/alerts/1", "/deployments/a/b", "/records/x"]) assert.equal(routeOf(path).page, "missing");
});

test("a request id with strange characters comes back as it went", () => {
  const wanted = "a/b c?%2F#é";
  const path = new URL(href.decision("flight-delay", wanted), "http://localhost").pathname;
  assert.deepEqual(routeOf(path), { page: "decision", name: "flight-delay", wanted });
});

test("a path that is no valid encoding is no error", () => {
  assert.deepEqual(routeOf("/deployments/%E0%A4%A"), { page: "deployment", name: "%E0%A4%A" });
});

test("a page asks for what it shows only", () => {
  assert.deepEqual(documentsOf(routeOf("/deployments/a")), ["deployment/a", "series/a"]);
  assert.deepEqual(documentsOf(routeOf("/deployments/a/monitoring")), ["monitoring/a"]);
  assert.deepEqual(documentsOf(routeOf("/")), []);
  assert.equal(titleOf(routeOf("/dead-letters")), "Dead letters · Headrace");
});
