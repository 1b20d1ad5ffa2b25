"""What the figures were taken on."""
import os
import pathlib
import platform


def read(path):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return ''


def cpu_ticks():
    """All ticks of all processors since the start, and those that a hypervisor took away."""
    ticks = [int(field) for field in read('/proc/stat').splitlines()[0].split()[1:]]
    return sum(ticks[:8]), ticks[7]


def describe():
    models = [line.split(':', 1)[1].strip() for line in read('/proc/cpuinfo').splitlines()
              if line.startswith(('model name', 'Model'))]
    release = dict(line.split('=', 1) for line in read('/etc/os-release').splitlines() if '=' in line)
    memory = read('/proc/meminfo').split()
    return {
        'cpu': models[0] if models else platform.machine(),
        'cores': len(os.sched_getaffinity(0)),
        'memory_gib': round(int(memory[1]) / 2**20, 1) if len(memory) > 1 else None,
        'kernel': platform.release(),
        'system': release.get('PRETTY_NAME', '').strip('"'),
        'governor': read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'),
        'virtual': 'hypervisor' in read('/proc/cpuinfo').split('flags', 1)[-1].split('\n', 1)[0].split(),
        'load_average': os.getloadavg()[0],
    }
