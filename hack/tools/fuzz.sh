#!/usr/bin/env bash
# fuzz.sh FUZZTIME runs every fuzz target of the module for that long. Go fuzzes
# one target of one package at a time.
set -euo pipefail
fuzztime=$1

while IFS=: read -r file target; do
  echo "== $target in $(dirname "$file")"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "./$(dirname "$file")"
done < <(git grep -oP '^func \KFuzz\w+(?=\()' -- '*_test.go')
