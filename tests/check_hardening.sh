#!/bin/sh
# Has what was built the hardening that meson.build asks for? check_hardening.sh COMMANDS FLAGS FILE...
# Position independent, relocations read-only behind the start and all bound there, stack protector,
# _FORTIFY_SOURCE; no executable stack. What leaves no trace in the files is looked for in COMMANDS
# (compile_commands.json): each of FLAGS, separated by blanks, in how every source of the library and the programs
# was compiled.
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

commands=$1 flags=$2
shift 2
sources=$(grep -E '"command": .* -c \S*(lib|server|cat)/[a-z_/]+\.c"' "$commands")
if [ -z "$sources" ]; then
    echo "$commands: no source of the library" >&2
    bad=1
fi
for flag in $flags; do
    without=$(printf '%s\n' "$sources" | grep -v -c -e " $flag ")
    if [ "$without" -ne 0 ]; then
        echo "$flag: not in how $without sources were compiled" >&2
        bad=1
    fi
done

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
