#!/usr/bin/env bash
# Every check, each with its name; all run, and one that fails fails the whole. A missing tool is said.
set -uo pipefail
bin=.venv/bin
failed=0
check() {
  local name=$1; shift
  local output
  if output=$("$@" 2>&1); then echo "ok    $name"; else echo "FAIL  $name"; echo "$output" | tail -40; failed=1; fi
}
no_registry_host() {
  local hosts
  hosts=$({ pip config list; npm config get registry; go env GOPROXY; $bin/python -c "from pip._internal.models.index import PyPI; print(PyPI.url, 'https://' + PyPI.file_storage_domain)"; } 2>/dev/null |
    grep -oE 'https?://[^/ ,"'"'"']+' | sed -E 's#https?://([^@]*@)?##; s#:[0-9]+$##' | grep -vE '^(localhost|127\.)' | sort -u)
  for host in $hosts; do
    if git grep -lF -- "$host"; then echo "names a package registry's host: $host"; return 1; fi
  done
}
no_lock_of_uv() { ! git ls-files --error-unmatch uv.lock; }

check "format" $bin/ruff format --check
check "lint" $bin/ruff check
check "types" $bin/ty check libs/common/src libs/edge/src libs/backtest/src libs/cli/src deploy/broker/src services/*/src examples/*/src
check "import contracts" $bin/lint-imports --no-cache
check "schemas follow the types" $bin/python -m headrace.events.schemas --check
check "reference follows the types" $bin/python -m headrace.project.reference --check
check "metrics page follows the catalogue" $bin/python -m headrace.hosting.metrics_reference --check
check "types of the page follow the documents" $bin/python deploy/checks/page_types.py --check
check "locks name every dependency" $bin/python deploy/checks/locks.py
check "no registry host in tracked files" no_registry_host
check "uv.lock is not tracked" no_lock_of_uv
if [ -f docker-compose.yml ]; then check "compose" $bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml; else echo "FAIL  compose: docker-compose.yml is missing"; failed=1; fi
if [ -x $bin/hadolint ]; then check "Dockerfile" $bin/hadolint deploy/Dockerfile; else echo "skip  Dockerfile: hadolint is not installed"; fi
tsc=services/console/page/node_modules/typescript/bin/tsc
if [ -f $tsc ]; then check "types of the page" services/console/page/with_node.sh node "$PWD/$tsc" --noEmit; else echo "skip  types of the page: npm has installed nothing (make page)"; fi
exit $failed
