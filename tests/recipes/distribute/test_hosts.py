"""The loop of the guide on two network namespaces as hosts, whatever happens to them.

    python -m pytest -m slow -s tests/recipes/distribute/test_hosts.py

As root, on Linux with `ip`; elsewhere it is skipped.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from reverse_task import SETTINGS, final_state

GUIDE = Path(__file__).parents[3] / "docs" / "scaling.md"
ADDRESSES = "10.0.0.1", "10.0.0.2"  # those of the guide
STEPS = 400
OPTIONS = ["--model", "rnn-bahdanau", "--max-steps", str(STEPS), "--no-fit"]
OPTIONS += [part for s in (*SETTINGS, f"evaluate_every={STEPS}") for part in ("--set", s)]
MINUTE = 60.0
SECONDS = 600.0  # most for a start, on a machine that does much else

# In place of ssh and of the command: one enters a namespace, the other tells how each start ends.
SSH = """#!/bin/sh
cd {folder}/$1 && exec ip netns exec {prefix}$1 sh -c "$2"
"""
COMMAND = """#!/bin/sh
{python} -m attention_zoo "$@" {options} >> output 2>&1 &
echo $! >> started
wait $!
status=$?
echo $status >> ended
exit $status
"""

pytestmark = pytest.mark.slow


class Host:
    """A namespace with a folder, in which the loop starts the command over and over."""

    def __init__(self, folder, namespace):
        self.project, self.namespace = folder / "project", namespace
        self.project.mkdir(parents=True)

    def lines(self, name):
        path = self.project / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    @property
    def statuses(self):
        """How each start of the command has ended."""
        return self.lines("ended")

    def send(self, number):
        os.kill(self.lines("started")[-1], number)

    def link(self, state):
        ip("-n", self.namespace, "link", "set", "veth", state)


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def network():
    """The prefix of the names of two namespaces, which a pair of devices connects."""
    prefix = f"zoo-{os.getpid()}-"
    names = [prefix + address for address in ADDRESSES]
    try:
        for name in names:
            ip("netns", "add", name)
        ends = ["veth", "netns", names[0], "type", "veth", "peer", "veth", "netns", names[1]]
        ip("link", "add", *ends)
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "veth")
            for device in ("lo", "veth"):
                ip("-n", name, "link", "set", device, "up")
        yield prefix
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or error
        pytest.skip(f"namespaces need root and `ip` of iproute2: {told}".strip())
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.fixture
def start(network, reverse_files, tmp_path):
    """Starts the guide's loops as `name`; returns the two hosts and the script's process."""
    (script,) = re.findall(r"^```sh\n(workers=.*?)^```", GUIDE.read_text(), re.M | re.S)
    running = []

    def loops(name):
        folder = tmp_path / name
        hosts = [Host(folder / address, network + address) for address in ADDRESSES]
        for host in hosts:
            for file in reverse_files.iterdir():
                (host.project / file.name).write_bytes(file.read_bytes())
        (folder / "bin").mkdir()
        values = {"folder": folder, "prefix": network, "python": sys.executable}
        for file, text in (("ssh", SSH), ("attention-zoo", COMMAND)):
            path = folder / "bin" / file
            path.write_text(text.format(options=shlex.join(OPTIONS), **values))
            path.chmod(0o755)
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        running.append(
            subprocess.Popen(["bash", "-c", script], env=environment, start_new_session=True)
        )
        return hosts, running[-1]

    yield loops
    for process in running:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_until(condition, seconds=SECONDS):
    """Waits until a condition holds, and returns the seconds that took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.05)
    return time.monotonic() - begin


def run_of(hosts):
    return hosts[0].project / "runs" / "mine"


def newest(hosts):
    """The step of the newest checkpoint."""
    paths = run_of(hosts).glob("checkpoints/step-*.npz")
    return max((int(path.stem[5:]) for path in paths), default=0)


def wait_for_steps(hosts, count=3):
    begin = newest(hosts)
    wait_until(lambda: newest(hosts) >= begin + count)


def cut(hosts):
    hosts[0].link("down")


def pause(hosts):
    hosts[1].send(signal.SIGSTOP)
    time.sleep(30)
    hosts[1].send(signal.SIGCONT)


INCIDENTS = {
    "link down for good": (cut, (75, 75)),
    "worker paused for 30 s": (pause, (75, 75)),
    "worker killed": (lambda hosts: hosts[1].send(signal.SIGKILL), (75, 137)),
    "chief killed": (lambda hosts: hosts[0].send(signal.SIGKILL), (137, 75)),
    "SIGTERM at a worker": (lambda hosts: hosts[1].send(signal.SIGTERM), (75, 75)),
}


def test_whatever_happens_to_two_hosts_their_loops_end_as_if_never(start, capsys):
    whole, script = start("whole")
    assert script.wait(SECONDS) == 0
    assert [host.statuses for host in whole] == [[0], [0]]

    hosts, script = start("parts")
    wait_for_steps(hosts)
    hosts[0].link("down")
    time.sleep(5)
    hosts[0].link("up")
    wait_for_steps(hosts)
    assert [host.statuses for host in hosts] == [[], []]
    for number, (name, (strike, expected)) in enumerate(INCIDENTS.items(), start=1):
        wait_for_steps(hosts)
        begin, step = time.monotonic(), newest(hosts)
        strike(hosts)
        for host in hosts:
            wait_until(lambda host=host, ends=number: len(host.statuses) >= ends)
        seconds = time.monotonic() - begin
        ended = tuple(host.statuses[number - 1] for host in hosts)
        with capsys.disabled():
            print(f"{name} at step {step}: {ended} after {seconds:.0f} s")
        assert ended == expected and seconds < MINUTE
        hosts[0].link("up")
    assert newest(hosts) < STEPS
    assert script.wait(SECONDS) == 0
    assert [host.statuses[-1] for host in hosts] == [0, 0]
    one, expected = (final_state(run_of(found), STEPS) for found in (hosts, whole))
    assert one.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(one[name], expected[name], err_msg=name)
