# Sourced: declared_in ROOT VERSION_H_DIR HEADER... prints the names that the public headers declare with
# WEFT_API. Preprocessed, so that comments and macros cannot deceive it.
declared_in()
{
    local root=$1 generated=$2 header
    shift 2
    for header in "$@"; do
        printf '#include "weft/%s"\n' "$header"
    done | ${CC:-gcc} -std=c11 -E -P -I"$root/include" -I"$generated" - | tr '\n' ' ' |
        grep -o 'visibility("default")))[^;(]*[;(]' | sed 's/ *[;(]$//; s/.*[ *]//' | LC_ALL=C sort -u
}
