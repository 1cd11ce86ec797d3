"""Two processes that train one model by the command line: killed, told to stop, started again."""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from loopback import free_addresses
from reverse_task import arguments, final_state

from attention_zoo.recipes.distribute.workers import TRY_AGAIN

SECONDS = 600.0  # most for anything, on a machine that does much else

pytestmark = pytest.mark.slow


@pytest.fixture
def start(reverse_files, tmp_path):
    """Starts two workers with the folder of a run; those that are left are killed at the end."""
    started = []
    copies = shutil.copytree(reverse_files, tmp_path / "copies")  # data may lie at other paths

    def both(output):
        workers = ("--workers", ",".join(free_addresses(2)), "--index")
        pair = [
            subprocess.Popen(
                [sys.executable, "-m", "attention_zoo"]
                + (
                    arguments(reverse_files, output, *workers, "0")
                    if index == 0
                    else arguments(copies, output / "none", *workers, "1")
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(2)
        ]
        started.extend(pair)
        return pair

    yield both
    for process in started:
        process.kill()
        process.wait()


def endings(processes):
    """Exit status and what was printed of each."""
    found = []
    for process in processes:
        printed, errors = process.communicate(timeout=SECONDS)
        found.append((process.returncode, printed, errors))
    return found


def wait_for_step(output, step):
    until = time.monotonic() + SECONDS
    while not any(int(path.stem[5:]) >= step for path in output.glob("checkpoints/step-*.npz")):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_killed_or_stopped_and_started_again_two_workers_end_as_if_never(start, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for status, _, errors in endings(start(whole)):
        assert status == 0, errors

    processes = start(parts)
    wait_for_step(parts, 4)
    processes[1].kill()
    (status, _, errors), _ = endings(processes)
    assert status == TRY_AGAIN
    assert "error: worker 1 (127.0.0.1:" in errors and "has gone" in errors
    assert errors.count("has gone") == 1

    processes = start(parts)
    wait_for_step(parts, 13)
    processes[1].send_signal(signal.SIGTERM)
    for status, printed, errors in endings(processes):
        assert status == TRY_AGAIN, errors
        assert "stopped and saved at step" in printed

    (status, printed, errors), (other_status, silent, _) = endings(start(parts))
    assert (status, other_status) == (0, 0), errors
    assert "going on at step" in printed and "best at step" in printed
    assert silent.splitlines()[0] == "worker 1 of 2 waits for the others"
    assert len(silent.splitlines()) == 2  # the other says where it runs
    assert not (parts / "none").exists()
    one, expected = final_state(parts), final_state(whole)
    assert one.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(one[name], expected[name], err_msg=name)
