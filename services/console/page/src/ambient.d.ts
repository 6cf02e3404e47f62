// Modules that TypeScript does not know by itself: stylesheets, which esbuild bundles, and what the tests use of node.
declare module "*.css";
declare module "node:test" {
  export function test(name: string, body: () => void): void;
}
declare module "node:assert/strict" {
  const assert: {
    equal(actual: unknown, expected: unknown): void;
    deepEqual(actual: unknown, expected: unknown): void;
    ok(value: unknown): void;
    match(text: string, pattern: RegExp): void;
  };
  export default assert;
}
declare module "node:child_process" {
  export function execFileSync(command: string, words: string[], options: { encoding: "utf8" }): string;
}
