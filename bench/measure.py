"""What the benchmarks share: a child's CPU seconds and peak memory, the machine in words, tables.

Imported by `allocator`, `llvm-cpu` and `boot`; leaves nothing on disk.
"""

import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
import time


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one process, with every process that it waited for, took. Seconds; `peak` in MiB of resident memory."""

    user: float
    system: float
    wall: float
    peak: float

    @property
    def cpu(self):
        return self.user + self.system


def stop(message, hint):
    """Ends the script with what is wrong and what to do about it."""
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {message}\nhint: {hint}")


def say(message):
    """One line of progress. Results alone go to standard output."""
    print(message, file=sys.stderr, flush=True)


def run(command, directory=None, shell=False, environment=None):
    """Runs `command` to its end and returns its Usage; a failure ends the script with what the command wrote."""
    usage, status, output = try_run(command, directory, shell, environment)
    if status != 0:
        line = command if shell else " ".join(command)
        shown = output.decode(errors="replace").strip().splitlines()[-30:]
        stop("\n".join([f"status {status} of: {line}", *shown]), f"run it by hand in {directory or os.getcwd()}")
    return usage


def try_run(command, directory=None, shell=False, environment=None):
    """Runs `command`; returns its Usage, its exit status (negative: the signal) and its output."""
    start = time.monotonic()
    child = subprocess.Popen(
        command,
        cwd=directory,
        shell=shell,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output = child.stdout.read()
    child.stdout.close()
    # wait4, as only it tells the usage of this one child.
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts ru_maxrss in KiB.
    return Usage(usage.ru_utime, usage.ru_stime, wall, usage.ru_maxrss / 1024), child.returncode, output


def output_of(command, directory=None):
    """The standard output of `command` as text; a failure ends the script."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        stop(f"status {done.returncode} of: {' '.join(map(str, command))}\n{done.stderr.strip()}", "is it installed?")
    return done.stdout


def median(usages, field):
    """The median of one field over several runs."""
    return statistics.median(getattr(usage, field) for usage in usages)


def machine():
    """Processor, number of processors and memory of this machine, in words."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} x {model}, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f}"


def table(head, rows):
    """A Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
