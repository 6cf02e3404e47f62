// Bundles src/ into the package of the service (or into the folder that is named), and holds the budget of bytes.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MOST_BYTES = 60 * 1024; // gzip, in all: what a first visit loads
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

const bundled = await build({
  absWorkingDir: here,
  entryPoints: { page: "src/main.tsx", theme: "src/frame/theme_first.ts" },
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  outdir: join(out, "assets"),
  entryNames: "[name]-[hash]",
  legalComments: "none", // licences.txt has them whole
  plugins: [withoutUnusedPaths],
  write: false,
  logLevel: "warning",
});

const assets = bundled.outputFiles.map((file) => ({ name: file.path.slice(file.path.lastIndexOf("/") + 1), bytes: file.contents }));
const icon = readFileSync(join(here, "src/icon.svg"));
assets.push({ name: `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`, bytes: icon });
const named = (start, end) => assets.find(({ name }) => name.startsWith(start) && name.endsWith(end)).name;
// What the code does not know by itself: the names with their hashes.
const index = readFileSync(join(here, "src/index.html"), "utf8")
  .replace("{icon}", `/assets/${named("icon-", ".svg")}`)
  .replace("{theme}", `/assets/${named("theme-", ".js")}`)
  .replace("{style}", `/assets/${named("page-", ".css")}`)
  .replace("{script}", `/assets/${named("page-", ".js")}`);

const bytes = [Buffer.from(index), ...assets.map((asset) => asset.bytes)].reduce((sum, part) => sum + gzipSync(part, { level: 9 }).length, 0);
if (bytes > MOST_BYTES) {
  console.error(`the page has ${bytes} bytes (gzip), expected at most ${MOST_BYTES}: leave something out`);
  process.exit(1);
}

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "assets"), { recursive: true });
for (const { name, bytes: content } of assets) writeFileSync(join(out, "assets", name), content);
const licence = (name) => `${name}\n\n${readFileSync(join(here, "node_modules", name, "LICENSE"), "utf8")}`;
writeFileSync(join(out, "assets", "licences.txt"), ["preact", "@preact/signals", "uplot"].map(licence).join("\n\n"));
writeFileSync(join(out, "index.html"), index);
const digest = createHash("sha256").update(index).digest("hex").slice(0, 8);
console.log(`built the page ${digest}: ${(bytes / 1024).toFixed(1)} KB of at most ${MOST_BYTES / 1024} (gzip)`);
