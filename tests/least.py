"""The least library: what is compiled of lib/ in a build without TLS, ISA-L, Redis and SQLite, for those who break it file
by file and compile that themselves."""
import re

LIBRARIES = ['-lhttp_parser', '-lidn2', '-lz']
# In lib/meson.build: found() ? files(these) : files(others), and the same over several lines.
FOUND = re.compile(r'found\(\)\s*\??\s*(?:weft_sources \+= )?files\(([^)]*)\)')


def sources(lib, layers=('*',)):
    wanted = {name for found in FOUND.findall((lib / 'meson.build').read_text()) for name in re.findall(r"'([^']+)'", found)}
    files = [file for layer in layers for file in sorted(lib.glob(f'{layer}/*.c'))]
    return [file for file in files if file.relative_to(lib).as_posix() not in wanted]
