# SPDX-License-Identifier: Apache-2.0
"""
Tests that mostly wait, for deadlines of PID 1's or of a driver, run beside each other.

A test that is marked `beside` takes fixtures of module scope and wider only. The first of a file
that pytest comes to runs all of them that were selected; each has its own outcome. For conftest.py.
"""

import concurrent.futures
import time

import pytest

AT_ONCE = 4

_outcomes = {}


def pytest_configure(config):
    config.addinivalue_line("markers", "beside: runs beside the others of its file that have this mark")


def _arguments(item, request):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    # pylint: disable-next=protected-access
    names = item._fixtureinfo.argnames
    return {name: params[name] if name in params else request.getfixturevalue(name) for name in names}


def _run(function, arguments):
    begin = time.monotonic()
    try:
        function(**arguments)
    finally:
        print(f"{time.monotonic() - begin:.1f} s beside others: {arguments}")


def _run_all(first):
    module = first.getparent(pytest.Module)
    items = [item for item in first.session.items
             if item.getparent(pytest.Module) is module and item.get_closest_marker("beside")]
    # pylint: disable-next=protected-access
    cases = [(item, item.obj, _arguments(item, first._request)) for item in items]
    # each case stays on its thread: with that what it has started ends (PR_SET_PDEATHSIG)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for item, function, arguments in cases:
            _outcomes[item] = pool.submit(_run, function, arguments)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not pyfuncitem.get_closest_marker("beside"):
        return None
    if pyfuncitem not in _outcomes:
        _run_all(pyfuncitem)
    _outcomes[pyfuncitem].result()
    return True
