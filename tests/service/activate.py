"""Run a program as a service manager does: python3 activate.py FDS NAMES PID COUNT PROGRAM ARGUMENT...

The descriptors FDS (of this process, with commas between) become 3 and so on. PID and COUNT are said as LISTEN_PID and
LISTEN_FDS; "self" is who the program will be, and "all" as many as there are."""
import fcntl
import os
import sys

ABOVE_ALL = 100

fds, names, pid, count, *command = sys.argv[1:]
fds = [int(fd) for fd in fds.split(',') if fd]
moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, ABOVE_ALL) for fd in fds]  # out of the way of each other
os.closerange(3, ABOVE_ALL)
for i, fd in enumerate(moved):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ['LISTEN_PID'] = str(os.getpid()) if pid == 'self' else pid
os.environ['LISTEN_FDS'] = str(len(fds)) if count == 'all' else count
os.environ['LISTEN_FDNAMES'] = names
os.execv(command[0], command)
