#!/usr/bin/env bash
# Each header compiles alone and twice: all of them as C11 by gcc and clang, the public ones also as C++,
# where the names they declare must stay C names. Usage: header_alone.sh DIRECTORY_OF_VERSION_H
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/declared.sh"
generated=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# try WHAT COMMAND...: one case
try()
{
    local what=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL header_alone/$what"
        cat "$work/log"
    fi
}

as_c()
{
    printf '#include "%s"\n#include "%s"\ntypedef int not_empty;\n' "$2" "$2" >"$work/alone.c"
    "$1" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wstrict-prototypes -fsyntax-only \
        -I"$root/include" -I"$root/lib" -I"$generated" "$work/alone.c"
}

as_cplusplus()
{
    local names mangled
    names=$(declared_in "$root" "$generated" "$2")
    {
        printf '#include "weft/%s"\n#include "weft/%s"\n' "$2" "$2"
        printf 'extern const void *const names[];\nconst void *const names[] = {\n'
        printf '(const void *)&%s,\n' $names
        printf '(const void *)0};\n'
    } | sed '/&,$/d' >"$work/alone.cc"
    "$1" -x c++ -std=c++17 -Wall -Wextra -Werror -I"$root/include" -I"$generated" \
        -c "$work/alone.cc" -o "$work/alone.o" || return 1
    mangled=$(nm -u "$work/alone.o" | grep -c ' _Z')
    ((mangled == 0)) || { echo "$mangled C++ names: extern \"C\" is missing"; return 1; }
}

compilers=() cplusplus=()
for c in gcc clang-14; do command -v $c >/dev/null && compilers+=($c); done
for c in g++ clang++-14; do command -v $c >/dev/null && cplusplus+=($c); done

cd "$root"
for header in include/weft/*.h "$generated"/weft/*.h lib/*/*.h; do
    name=${header#include/}
    name=${name#lib/}
    name=${name#"$generated/"}
    for c in "${compilers[@]}"; do
        try "$name as C11 by $c" as_c $c "$name"
    done
    [[ $name == weft/* ]] || continue
    for c in "${cplusplus[@]}"; do
        try "$name as C++ by $c" as_cplusplus $c "${name#weft/}"
    done
done
echo "header_alone: $passed passed, $failed failed"
((failed == 0 && passed > 0))
