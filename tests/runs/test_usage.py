import subprocess
import sys

import psutil

from fedsieve.runs.usage import Processes, Usage

WORK = """
import sys, time
began = time.process_time()
while time.process_time() - began < 0.4:  # /proc counts in ticks, rounded down: what is asserted is less
    pass
print("done", flush=True)
sys.stdin.read()
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
child.wait()
print("ended", flush=True)
sys.stdin.read()
"""
HOLD = """
import sys
held = bytearray(200_000_000)
held[::4096] = b"x" * len(held[::4096])
print("done", flush=True)
sys.stdin.read()
"""


def started(script: str, *arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    return process


def test_the_work_of_descendants_counts_while_they_live_and_afterwards():
    parent, processes = started(PARENT, WORK), Processes(every=0.0)
    assert processes.cpu_seconds() >= 0.3
    (child,) = (one for one in processes.look_up() if one.ppid() == parent.pid)
    child.kill()
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ended\n"
    assert processes.cpu_seconds() >= 0.3
    parent.communicate("", timeout=20)


def test_a_child_that_has_ended_counts_once():
    processes = Processes(every=0.0)
    before = processes.cpu_seconds()
    child = started(WORK)
    assert processes.cpu_seconds() - before >= 0.3
    child.communicate("", timeout=20)
    assert 0.3 <= processes.cpu_seconds() - before < 0.6


def test_an_added_process_counts_though_it_is_no_descendant():
    processes = Processes(every=0.0)
    processes.add(1)
    assert psutil.Process(1) in processes.look_up()


def test_the_peak_of_memory_is_over_all_processes():
    usage = Usage(every=0.0)
    usage.sample()
    before = usage.totals()["peak_rss_mb"]
    child = started(HOLD)
    usage.sample()
    child.communicate("", timeout=20)
    assert usage.totals()["peak_rss_mb"] > before + 150
