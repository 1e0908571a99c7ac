# Counts the tests in the output of `go test -v`, as gotestsum does for the others.
$1 == "---" { n[$2]++ }
END { printf "DONE %d end-to-end tests, %d failed, %d skipped\n", n["PASS:"] + n["FAIL:"] + n["SKIP:"], n["FAIL:"], n["SKIP:"] }
