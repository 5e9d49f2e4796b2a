# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from gpu_bench import over_fake  # noqa: E402
from lib.benches import *  # noqa: E402, F401, F403
from lib.beside import pytest_configure, pytest_pyfunc_call  # noqa: E402, F401


@pytest.fixture
def gpu(bench):
    """Starts over the fake driver; after each no device memory is left in use."""
    return over_fake(bench)


@pytest.fixture(scope="module")
def module_gpu(module_bench):
    """The same for tests that run beside each other: nothing is left of all of them."""
    yield over_fake(module_bench)
    left = module_bench.workplace.leftovers()
    assert not left, f"left behind: {left}"
