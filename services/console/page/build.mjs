// Bundles src/ into the package of the service (or into the folder that is named), and holds the budget of bytes.
// Some pages are chunks of their own, which come when they are opened (`src/parts/later.tsx`). The budget is of a first visit
// to any page: what every page needs, and the largest of these chunks with what it needs besides.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MOST_BYTES = 60 * 1024; // gzip: what a first visit loads, whichever page it is to
const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../src/headrace_console/page");

// uPlot hangs every kind of path onto its one export, so that esbuild must keep them all; the page draws lines and points.
const UNUSED = ["(paths.stepped = stepped);", "(paths.bars    = bars);", "(paths.spline  = monotoneCubic);", "uPlot.join = join;"];
const withoutUnusedPaths = {
  name: "without unused paths",
  setup: ({ onLoad }) =>
    onLoad({ filter: /uPlot\.esm\.js$/ }, ({ path }) => {
      const contents = readFileSync(path, "utf8");
      const missing = UNUSED.filter((line) => !contents.includes(line));
      if (missing.length) return { errors: [{ text: `another uPlot than expected: it has no ${missing}` }] };
      return { contents: UNUSED.reduce((text, line) => text.replace(line, ""), contents) };
    }),
};

const options = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  outdir: join(out, "assets"),
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  legalComments: "none", // licences.txt has them whole
  plugins: [withoutUnusedPaths],
  write: false,
  logLevel: "warning",
};
// The theme is set before the page is there: a script without imports.
const theme = await build({ ...options, entryPoints: { theme: "src/frame/theme_first.ts" } });
const bundled = await build({ ...options, entryPoints: { page: "src/main.tsx" }, splitting: true, metafile: true });

const assets = [...theme.outputFiles, ...bundled.outputFiles].map((file) => ({ name: file.path.slice(file.path.lastIndexOf("/") + 1), bytes: file.contents }));
const icon = readFileSync(join(here, "src/icon.svg"));
assets.push({ name: `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`, bytes: icon });
const named = (start, end) => assets.find(({ name }) => name.startsWith(start) && name.endsWith(end)).name;
// What the code does not know by itself: the names with their hashes.
const index = readFileSync(join(here, "src/index.html"), "utf8")
  .replace("{icon}", `/assets/${named("icon-", ".svg")}`)
  .replace("{theme}", `/assets/${named("theme-", ".js")}`)
  .replace("{style}", `/assets/${named("page-", ".css")}`)
  .replace("{script}", `/assets/${named("page-", ".js")}`);

const sizeOf = (content) => gzipSync(content, { level: 9 }).length;
const baseOf = (path) => path.slice(path.lastIndexOf("/") + 1);
const sizes = new Map(assets.map(({ name, bytes }) => [name, sizeOf(bytes)]));
const outputs = new Map(Object.entries(bundled.metafile.outputs).map(([path, output]) => [baseOf(path), output]));
/** A script with all that it imports at once; what it may import later is not among them. */
const closure = (name, seen = new Set()) => {
  if (seen.has(name)) return seen;
  seen.add(name);
  for (const { path, kind } of outputs.get(name)?.imports ?? []) if (kind === "import-statement") closure(baseOf(path), seen);
  return seen;
};
const script = named("page-", ".js");
const always = new Set([...closure(script), named("icon-", ".svg"), named("theme-", ".js"), named("page-", ".css")]);
const total = (names) => [...names].reduce((sum, name) => sum + sizes.get(name), 0);
const later = [...outputs.values()].flatMap(({ imports }) => imports.filter(({ kind }) => kind === "dynamic-import").map(({ path }) => baseOf(path)));
const largest = Math.max(0, ...later.map((name) => total([...closure(name)].filter((one) => !always.has(one)))));
const bytes = sizeOf(index) + total(always) + largest;
if (bytes > MOST_BYTES) {
  console.error(`a first visit loads ${bytes} bytes (gzip), expected at most ${MOST_BYTES}: leave something out`);
  process.exit(1);
}

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "assets"), { recursive: true });
for (const { name, bytes: content } of assets) writeFileSync(join(out, "assets", name), content);
const licence = (name) => `${name}\n\n${readFileSync(join(here, "node_modules", name, "LICENSE"), "utf8")}`;
writeFileSync(join(out, "assets", "licences.txt"), ["preact", "@preact/signals", "uplot"].map(licence).join("\n\n"));
writeFileSync(join(out, "index.html"), index);
const digest = createHash("sha256").update(index).digest("hex").slice(0, 8);
const kilobytes = (n) => (n / 1024).toFixed(1);
console.log(`built the page ${digest}: ${kilobytes(bytes)} KB of at most ${MOST_BYTES / 1024} (gzip) for a first visit, ${kilobytes(sizeOf(index) + total(sizes.keys()))} KB in all`);
