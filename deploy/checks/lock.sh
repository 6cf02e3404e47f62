#!/usr/bin/env bash
# Exports the locks: versions with sha256, no host. uv.lock itself names a registry in every entry and stays out of git.
set -euo pipefail
bin=.venv/bin
export VIRTUAL_ENV=$PWD/.venv
$bin/uv lock --quiet --upgrade
export_to() { $bin/uv export --quiet --frozen --no-emit-workspace --no-header --no-annotate "${@:2}" -o "requirements/$1.lock" >/dev/null; }
export_to dev --all-packages --all-extras --all-groups
for service in services/*; do
  export_to "$(basename "$service")" --package "headrace-$(basename "$service")" --no-dev
done
export_to cli --package headrace-cli --no-dev
