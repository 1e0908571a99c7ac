#!/usr/bin/env bash
# unchanged.sh COMMAND... runs a command that writes files, and fails when that
# changed any: what it writes is then not up to date in the tree. In CI the tree
# must also have been clean before.
set -euo pipefail

state() {
  git status --porcelain
  git diff
  git ls-files --others --exclude-standard -z | xargs -0 --no-run-if-empty sha256sum
}

before=$(state)
if [[ ${CI:-} == true && -n $before ]]; then
  echo "the tree is not clean:" >&2
  git status --short >&2
  exit 1
fi
"$@"
after=$(state)
if [[ $before != "$after" ]]; then
  echo "not up to date; run '$*' and commit what it changed:" >&2
  diff <(echo "$before") <(echo "$after") | head -n 60 >&2
  exit 1
fi
