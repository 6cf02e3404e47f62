#!/usr/bin/env bash
# Builds the page into the package of the service. Where the surroundings do not allow it (no node, no npm registry), one
# sentence says so and setup goes on without the page. A fault in the page's own sources fails the setup.
set -uo pipefail
cd "$(dirname "$0")"
log=$(mktemp) && trap 'rm -f "$log"' EXIT
not_built() { echo "The page of the console is not built ($1); everything else works, and \`make page\` tries again."; exit 0; }

INSTALL_NODE=1 ./with_node.sh true >"$log" || not_built "$(tail -1 "$log")"
if ! cmp -s package-lock.json node_modules/.locked; then
  echo "Installing what the page is built with ..."
  ./with_node.sh npm ci --no-progress >"$log" 2>&1 || not_built "npm could not install: $(grep -m1 -oE 'E[A-Z]{4,}' "$log" || tail -1 "$log" | head -c 80)"
  cp package-lock.json node_modules/.locked
fi
./with_node.sh node build.mjs
