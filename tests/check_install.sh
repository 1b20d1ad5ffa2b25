#!/usr/bin/env bash
# A program outside the tree builds with what is installed: by pkg-config, against the shared and the static
# library; and so do the examples of README.md and weft.h, word for word but for the port, which then talk to each other.
# Usage: check_install.sh BUILD_DIRECTORY
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -KILL "$server"; rm -rf "$work"' EXIT

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

# --- the examples ---

example_of_readme() # NUMBER
{
    awk -v wanted="$1" '/^```c$/ {n++; inside = 1; next} /^```$/ {inside = 0} inside && n == wanted' "$root/README.md"
}
# Below those that the kernel gives to who asks for any: the tests beside this one do, while the examples are built.
free_port()
{
    python3 - <<'END'
import random
import socket

first = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
while True:
    port = random.randrange(2000, first) if first > 4000 else 0
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(s.getsockname()[1])
        break
END
}

build_example() # NAME: of standard input
{
    sed "s/8080/$port/" >"$work/$1.c"
    # shellcheck disable=SC2046
    gcc -std=c11 -Wall -Wextra -Werror "$work/$1.c" -o "$work/$1" $(pkg-config --cflags --libs weft)
}

hears_echo() # the client's own words say when the server listens
{
    for _ in {1..100}; do
        [[ $("$work/client" 2>/dev/null) != hello ]] || return 0
        kill -0 "$server" || return 1
        sleep 0.1
    done
    return 1
}

export LD_LIBRARY_PATH=$libraries
port=$(free_port)
example_of_readme 1 | build_example server
example_of_readme 2 | build_example client
sed -n 's/^ \*     //p' "$root/include/weft/weft.h" | build_example header
for example in server header; do
    "$work/$example" &
    server=$!
    hears_echo || { echo "the client of README.md hears no echo from the example '$example'"; exit 1; }
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=
done
echo "install: 4 passed, 0 failed"
