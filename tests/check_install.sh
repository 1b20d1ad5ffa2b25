#!/usr/bin/env bash
# A program outside the tree builds with what is installed: by pkg-config, against the shared and the static
# library. Usage: check_install.sh BUILD_DIRECTORY
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

meson install -C "$1" --no-rebuild --destdir "$work/root" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
pc=$(find "$work/root" -name weft.pc)
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$work/root
libraries=$(dirname "${pc%/*}")

cat >"$work/program.c" <<'END'
#include <string.h>
#include <weft/weft.h>

int main(void)
{
    weft_server *server;

    if (strcmp(weft_version(), WEFT_VERSION) != 0 || weft_server_new(&server, NULL) != WEFT_OK)
        return 1;
    weft_server_unref(server);
    return 0;
}
END
# shellcheck disable=SC2046
gcc -std=c11 -Wall -Wextra -Werror "$work/program.c" -o "$work/shared" $(pkg-config --cflags --libs weft)
# shellcheck disable=SC2046
gcc -std=c11 -Wall -Wextra -Werror "$work/program.c" -o "$work/static" $(pkg-config --cflags weft) \
    -Wl,-Bstatic $(pkg-config --libs weft) -Wl,-Bdynamic $(pkg-config --static --libs weft | sed 's/-lweft//')
LD_LIBRARY_PATH=$libraries "$work/shared"
"$work/static"
[[ $(objdump -p "$work/shared") == *libweft.so.0* ]] || { echo "the soname is not libweft.so.0"; exit 1; }
[[ $(objdump -p "$work/static") != *libweft* ]] || { echo "not linked statically"; exit 1; }
echo "install: 2 passed, 0 failed"
