#!/bin/sh
# Has what was built the hardening that meson.build asks for? check_hardening.sh FILE...
# Position independent, relocations read-only behind the start and all bound there, stack protector,
# _FORTIFY_SOURCE; no executable stack.
bad=0

demand() # FILE WHAT COMMAND...: the output of COMMAND is not empty
{
    file=$1 what=$2
    shift 2
    if ! "$@" | grep -q .; then
        echo "$file: no $what" >&2
        bad=1
    fi
}

for f; do
    headers=$(readelf -W -h -l -d "$f") symbols=$(readelf -W -s "$f")
    has() { printf '%s\n' "$headers" | grep -E "$1"; }
    calls() { printf '%s\n' "$symbols" | grep -E "UND $1"; }
    demand "$f" "position independence" has 'Type: +DYN'
    demand "$f" "RELRO" has 'GNU_RELRO'
    demand "$f" "immediate binding" has 'BIND_NOW|FLAGS.*NOW'
    demand "$f" "stack protector" calls '__stack_chk_fail'
    demand "$f" "_FORTIFY_SOURCE" calls '__[a-z]+_chk'
    demand "$f" "stack without execution" has 'GNU_STACK.* RW '
done
exit $bad
