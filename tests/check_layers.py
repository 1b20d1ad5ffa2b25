#!/usr/bin/env python3
"""Name each include that breaks layers.txt: arrows that point upward or sideways, header cycles, foreign
headers outside their one file. Usage: check_layers.py [ROOT]; --self-test shows that each kind is found."""
import pathlib
import re
import sys
import tempfile

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def rules(path):
    level, programs, only = {}, {}, {}
    for line in path.read_text().splitlines():
        word, *rest = line.split('#')[0].split() or ['']
        if word == 'layers':
            for height, names in enumerate(' '.join(rest).split('<')):
                level.update((name, height) for name in names.split())
        elif word == 'program':
            programs[rest[0]] = set(rest)
        elif word == 'only':
            only[rest[0]] = rest[1:]
    return level, programs, only


def sources(root, programs):
    """Every C file as (its name in an include, its layer, its text)."""
    for top, base in [('include', 'include'), ('lib', 'lib')] + [(name, '.') for name in programs]:
        for path in sorted((root / top).rglob('*.[ch]')):
            name = path.relative_to(root / base).as_posix()
            yield name, name.split('/')[0], path.read_text()


def cycles(graph):
    done, found = set(), []

    def walk(name, trail):
        if name in trail:
            found.append('cycle: ' + ' > '.join(trail[trail.index(name):] + [name]))
        elif name not in done:
            for other in graph.get(name, ()):
                walk(other, trail + [name])
            done.add(name)

    for name in graph:
        walk(name, [])
    return found


def faults(root):
    level, programs, only = rules(root / 'tests' / 'layers.txt')
    found, graph = [], {}
    for name, layer, text in sources(root, programs):
        for quote, target in INCLUDE.findall(text):
            if quote == '"' and '/' not in target:
                target = name.rsplit('/', 1)[0] + '/' + target
            to = target.split('/')[0]
            for foreign, owners in only.items():
                if target.startswith(foreign) and name not in owners:
                    found.append(f'{name} includes {target}: only {" and ".join(owners)} may')
            if quote == '<' and to not in level:
                continue
            if name.endswith('.h'):
                graph.setdefault(name, []).append(target)
            below = to == layer or level.get(to, 99) < level.get(layer, -1)
            if not (to in programs[layer] if layer in programs else below):
                found.append(f'{name} includes {target}: {layer} may not see {to}')
    return found + cycles(graph)


def self_test(layers):
    cases = {  # what the file says, and the fault it must cause
        'lib/base/a.c': ('#include "core/x.h"', 'base/a.c includes core/x.h: base may not see core'),
        'lib/sync/b.c': ('#include "proto/x.h"', 'sync/b.c includes proto/x.h: sync may not see proto'),
        'lib/odd/c.c': ('#include "base/x.h"', 'odd/c.c includes base/x.h: odd may not see base'),
        'lib/api/j.c': ('#include "odd/x.h"', 'api/j.c includes odd/x.h: api may not see odd'),
        'lib/core/d.c': ('# include <http_parser.h>', 'core/d.c includes http_parser.h: only proto/http.c may'),
        'lib/io/e.c': ('#include <wolfssl/ssl.h>', 'io/e.c includes wolfssl/ssl.h: '
                         'only io/tls.c and io/tls_certificate.c and io/tls_context.c and io/tls_file.c and '
                         'io/tls_resume.c and io/tls_shake.c and io/tls_suites.c and io/tls_wire.c may'),
        'include/weft/f.h': ('#include "base/x.h"', 'weft/f.h includes base/x.h: weft may not see base'),
        'server/g.c': ('#include "io/x.h"', 'server/g.c includes io/x.h: server may not see io'),
        'lib/api/h.h': ('#include "i.h"', 'cycle: api/h.h > api/i.h > api/h.h'),
        'lib/api/i.h': ('#include "api/h.h"\n#include "core/x.h"\n#include <weft/y.h>\n#include <a.h>', None),
        'lib/proto/http.c': ('#include <http_parser.h>\n#include "base/x.h"', None),
    }
    with tempfile.TemporaryDirectory() as tmp:
        root = pathlib.Path(tmp)
        for name, (text, _) in {**cases, 'tests/layers.txt': (layers.read_text(), None)}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + '\n')
        return sorted(set(faults(root)) ^ {fault for _, fault in cases.values() if fault})


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    if sys.argv[1:] == ['--self-test']:
        found = self_test(root / 'tests' / 'layers.txt')
    else:
        found = faults(pathlib.Path(sys.argv[1]) if sys.argv[1:] else root)
    print('\n'.join(found + [f'layers: {0 if found else 1} passed, {len(found)} failed']))
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
