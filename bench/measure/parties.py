"""Who is measured: how each server is got, started and asked for its version.

The floor and weft are built with the release; without them there is nothing to measure. A peer that cannot
be installed or does not start is left out with a sentence that says why."""
import os
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass

from . import questions

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / 'build-bench'
PEERS = ROOT / 'bench/peers'
PEERS_BUILD = BUILD / 'peers'
FAST_TLS = ROOT / 'build-fast-tls/wolfssl'  # server/start --fast-tls has it there too
CERT, KEY = BUILD / 'cert.pem', BUILD / 'key.pem'
PAIR = ('--cert', CERT, '--key', KEY)

PACKAGES = ('gcc libc6-dev meson ninja-build pkgconf git '
            'libhttp-parser-dev libidn2-dev libjansson-dev zlib1g-dev libisal-dev libwolfssl-dev libssl-dev openssl').split()
MICRO = ('micro_queue', 'micro_proto', 'micro_deflate')
LOAD = BUILD / 'bench/weft_bench/weft-bench'
DEBIAN_PYTHON = '/usr/bin/python3'  # where Debian's python3-websockets is, whichever python runs this


@dataclass
class Party:
    name: str
    command: list
    version: str
    is_raw: bool = False  # an echo without WebSocket
    has_stats: bool = False


def output_of(command, **more):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True,
                          timeout=60, **more).stdout.strip()


def missing_packages(peer):
    """Node.js and npm may come from elsewhere than Debian."""
    if peer == questions.WS:
        wanted = {'nodejs': 'node', 'npm': 'npm'}
        return [package for package, program in wanted.items() if not shutil.which(program)]
    return ['libwebsockets-dev' if peer == questions.LIBWEBSOCKETS else 'python3-websockets']


def install(wanted_peers):
    """Debian's packages. Returns why a peer's could not be had, by name."""
    if subprocess.run([ROOT / 'tools/install', *PACKAGES]).returncode:
        raise SystemExit('bench/run: without these packages there is nothing to measure')
    return {peer: 'its packages cannot be installed' for peer in wanted_peers
            if subprocess.run([ROOT / 'tools/install', *missing_packages(peer)]).returncode}


def build():
    """The release with LTO: weft, the floor, the generator and the micro-benchmarks; over a wolfSSL that uses the
    processor's instructions where one can be built, else over Debian's."""
    how = []
    if not (BUILD / 'build.ninja').exists():
        shutil.rmtree(BUILD, ignore_errors=True)
        fast = subprocess.run([ROOT / 'tools/fast-wolfssl', FAST_TLS], stdout=subprocess.DEVNULL)
        if fast.returncode == 0:
            how = [f'-Dpkg_config_path={FAST_TLS}/lib/pkgconfig']
        subprocess.run(['meson', 'setup', BUILD, ROOT, '-Dbuildtype=release', '-Db_lto=true', '-Dbench=true',
                        '-Dtests=disabled', '-Dserver=enabled', *how], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, 'CC': 'gcc'})
    programs = ['server/weft-echo', 'bench/floor', 'bench/floor_tls', LOAD.relative_to(BUILD)]
    programs += [f'bench/{name}' for name in MICRO]
    done = subprocess.run(['ninja', '-C', BUILD, *programs], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit('bench/run: the release does not build:\n' + done.stdout[-4000:])
    if not CERT.exists():
        output_of(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                   '-subj', '/CN=localhost', '-days', '3650', '-keyout', KEY, '-out', CERT])


def weft_version():
    try:
        return output_of(['git', '-C', ROOT, 'describe', '--always', '--dirty', '--tags', '--abbrev=12'])
    except (OSError, subprocess.SubprocessError):
        return output_of([BUILD / 'server/weft-echo', '--version'])


def ours():
    weft = [BUILD / 'server/weft-echo', '--stats']  # only the mode deflate offers compression
    version = weft_version()
    return [
        Party(questions.FLOOR, [BUILD / 'bench/floor'], version, is_raw=True),
        Party(questions.FLOOR_TLS, [BUILD / 'bench/floor_tls'], version, is_raw=True),
        Party(questions.INLINE, [*weft, '--inline'], version, has_stats=True),
        Party(questions.POOL, weft, version, has_stats=True),
    ]


def libwebsockets():
    program, source = PEERS_BUILD / 'libwebsockets_echo', PEERS / 'libwebsockets_echo.c'
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        flags = output_of(['pkg-config', '--cflags', '--libs', 'libwebsockets']).split()
        output_of(['gcc', '-std=c11', '-D_GNU_SOURCE', '-O3', '-flto', '-DNDEBUG', '-o', program, source,
                   *flags])
    return Party(questions.LIBWEBSOCKETS, [program], output_of([program, '--version']))


def python_websockets():
    program = [DEBIAN_PYTHON, PEERS / 'websockets_echo.py']
    python = output_of([DEBIAN_PYTHON, '--version'])
    return Party(questions.WEBSOCKETS, program, f'{output_of([*program, "--version"])} on {python}')


def node_ws():
    modules = PEERS_BUILD / 'node_modules'
    if not (modules / 'ws/package.json').exists():
        quick = ['--no-audit', '--no-fund', '--fetch-retries', '1']
        output_of(['npm', 'install', *quick, '--prefix', PEERS_BUILD, 'ws@8'])
    program = ['env', f'NODE_PATH={modules}', 'node', PEERS / 'ws_echo.js']
    return Party(questions.WS, program, output_of([*program, '--version']))


def gist(said):
    """The line that names the error, of all that npm, a compiler or a traceback says."""
    lines = said.strip().splitlines() or ['it does not say why']
    return next((line for line in lines if re.search(r'error|ERR!', line, re.I)), lines[-1])


def peers(wanted, failures):
    """Those of the wanted that can be had, and (name, reason) of the others."""
    makers = {questions.LIBWEBSOCKETS: libwebsockets, questions.WEBSOCKETS: python_websockets,
              questions.WS: node_ws}
    found, skipped = [], list(failures.items())
    PEERS_BUILD.mkdir(exist_ok=True)
    for name in wanted:
        if name in failures:
            continue
        try:
            found.append(makers[name]())
        except (OSError, subprocess.SubprocessError) as error:
            why = gist(getattr(error, 'stderr', None) or str(error))
            skipped.append((name, f'cannot be made ready: {why}'))
    return found, skipped
