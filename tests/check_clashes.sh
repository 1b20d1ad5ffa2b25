#!/usr/bin/env bash
# Programs of this tree link the static library, whose internal names then stand before those of shared libraries: no
# name may be both. check_clashes.sh STATIC_LIBRARY PROGRAM...
set -euo pipefail
names=$(mktemp)
trap 'rm -f "$names"' EXIT
nm -g --defined-only "$1" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u >"$names"
shift
failed=0 passed=0
while read -r library; do
    both=$(nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u | comm -12 - "$names")
    if [[ -n $both ]]; then
        echo "FAIL $(basename "$library") has the names of ours:" $both
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
done < <(for program in "$@"; do ldd "$program"; done | awk '$3 ~ /^\// { print $3 }' | sort -u)
echo "clashes: $passed passed, $failed failed"
((failed == 0 && passed > 0))
