#!/usr/bin/env bash
# The shared library exports what include/weft declares with WEFT_API: nothing less, nothing more.
# Usage: check_symbols.sh LIBRARY DIRECTORY_OF_VERSION_H
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/declared.sh"

library=$(realpath "$1")
cd "$root/include/weft"
declared=$(declared_in "$root" "$2" *.h)
exported=$(nm -D --defined-only "$library" | awk '{print $NF}' | LC_ALL=C sort -u)
failed=0 passed=0

[[ $declared == *weft_version* ]] || { echo "the headers could not be read"; failed=1; }
while read -r missing; do
    echo "declared but not exported: $missing"
    failed=$((failed + 1))
done < <(LC_ALL=C comm -23 <(echo "$declared") <(echo "$exported"))
while read -r extra; do
    echo "exported but not declared: $extra"
    failed=$((failed + 1))
done < <(LC_ALL=C comm -13 <(echo "$declared") <(echo "$exported"))
passed=$(LC_ALL=C comm -12 <(echo "$declared") <(echo "$exported") | wc -l)
echo "symbols: $passed passed, $failed failed"
((failed == 0))
