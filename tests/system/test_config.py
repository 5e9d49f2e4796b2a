# SPDX-License-Identifier: Apache-2.0
"""Settings of snapinit and snapctl: flag, environment, configuration file, default; and who says so."""

import json
import os
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SNAP_BUILD", SOURCE / "build" / "dev"))
SNAPCTL = str(BUILD / "cli" / "snapctl")
SNAPINIT = str(BUILD / "init" / "snapinit")
PATIENCE = 60


def run(*args, **more):
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("SNAPINIT_", "SNAPCTL_"))}
    env.update({key: str(value) for key, value in more.items()})
    return subprocess.run([str(arg) for arg in args], capture_output=True, text=True, env=env,
                          timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)


def settings(*args, **more):
    done = run(SNAPCTL, "config", "--json", *args, **more)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["schema"] == "snapctl.config/v1"
    return value


def setting(name, *args, **more):
    found = [{key: row[key] for key in ("value", "origin", "where")}
             for row in settings(*args, **more)["settings"] if row["name"] == name]
    return found if len(found) > 1 else found[0]


@pytest.fixture(name="conf")
def conf_fixture(tmp_path):
    def write(text, mode=0o644):
        path = tmp_path / "snapinit.conf"
        path.write_text(text)
        path.chmod(mode)
        return path
    return write


def test_every_origin_is_told(conf):
    path = conf("# ours\ngrace = 1s\nfiller = ring\npid-base = 2000\n")
    more = {"SNAPINIT_CONFIG": path, "SNAPINIT_GRACE": "2s", "SNAPINIT_FILLER": "writev"}
    args = ["--", "--grace", "3s", "true"]
    assert settings(*args, **more)["file"] == str(path)
    assert setting("grace", *args, **more) == {"value": "3s", "origin": "flag", "where": "--grace"}
    assert setting("filler", *args, **more) == {
        "value": "writev", "origin": "environment", "where": "SNAPINIT_FILLER"}
    assert setting("pid-base", *args, **more) == {
        "value": "2000", "origin": "file", "where": f"{path}:4"}
    assert setting("notify-fd", *args, **more) == {"value": "3", "origin": "default", "where": None}
    assert setting("oracle", *args, **more) == {"value": None, "origin": "default", "where": None}
    assert setting("kill-group", *args, **more)["value"] == "no"


def test_a_list_takes_from_all(conf):
    path = conf("include = /a\ninclude = /b\n")
    found = setting("include", "--config", path, "--", "--include=/c", SNAPINIT_INCLUDE="/d")
    assert sorted((row["value"], row["where"]) for row in found) == [
        ("/a", f"{path}:1"), ("/b", f"{path}:2"), ("/c", "--include"), ("/d", "SNAPINIT_INCLUDE")]


def test_text_tells_origins_and_is_a_configuration_file(conf):
    path = conf("grace = 1s\n")
    told = run(SNAPCTL, "config", "--show-origin", "--config", path, SNAPINIT_THP="never").stdout
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines()}
    assert rows["grace"] == ["1s", f"{path}:1"]
    assert rows["thp"] == ["never", "environment", "SNAPINIT_THP"]
    assert rows["oracle"] == ["-", "default"]
    header, *lines = told.splitlines()
    at = header.index("from")
    assert len(lines) > 30 and all(line[at - 2:at] == "  " and line[at] != " "
                                   for line in lines if not line.startswith("config ")), told
    plain = run(SNAPCTL, "config", "--config", path, SNAPINIT_THP="never").stdout
    again = run(SNAPCTL, "config", "--config", conf(plain))
    assert (again.returncode, again.stdout) == (0, plain)


@pytest.mark.parametrize("text, told", [
    ("grace = 1s\nnope = 1\n", ":2: unknown key 'nope'"),
    ("grace = soon\n", ":1: 'soon' is no duration, like 500ms, 30s, 2m or 1h"),
    ("ready-timeout = soon\n", ":1: 'soon' is no duration, like 500ms, 30s, 2m or 1h"),
    ("\ncapture = perhaps\n", ":2: 'perhaps' is not never, first-boot, on-request or exit"),
    ("grace 1s\n", ":1: neither 'key = value' nor a comment"),
    ("grace = 1s\ngrace = 2s\n", ":2: 'grace' is set in line 1 already"),
])
def test_a_mistake_in_the_file_is_one_line_everywhere(conf, text, told):
    path = conf(text)
    for args, status in (([SNAPINIT, "--config", path, "true"], 125),
                         ([SNAPCTL, "config", "--config", path], 2),
                         ([SNAPCTL, "verify", "--config", path, "/nonexistent"], 2)):
        done = run(*args)
        assert done.returncode == status
        assert f"{path}{told}" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_verb_refuses_keys_that_nobody_knows_but_not_snapinits(conf):
    done = run(SNAPCTL, "version", "--config", conf("nope = 1\n"))
    assert done.returncode == 2 and ":1: unknown key 'nope'" in done.stderr
    done = run(SNAPCTL, "version", "--config", conf("grace = 1s\ncriu = /nonexistent/criu\n"))
    assert done.returncode == 0 and "/nonexistent/criu" in done.stdout


def test_snapinit_goes_by_the_file(conf):
    path = conf("log-level = debug\nlog-format = json\n")
    done = run(SNAPINIT, "--config", path, "true")
    assert done.returncode == 0 and '"state.entered"' in done.stderr
    done = run(SNAPINIT, "--config", path, "--log-level", "error", "true")
    assert done.returncode == 0 and not done.stderr
    done = run(SNAPINIT, "true", SNAPINIT_CONFIG=path, SNAPINIT_LOG_LEVEL="error")
    assert done.returncode == 0 and not done.stderr
    # who asks for help shall get it
    assert run(SNAPINIT, "--help", SNAPINIT_CONFIG=conf("nope\n")).returncode == 0


def test_files_that_cannot_be_trusted_are_refused(conf, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(conf("grace = 1s\n"))
    cases = [(link, "symbolic link"), (tmp_path, "no regular file"),
             (tmp_path / "absent", "there is no configuration file")]
    for path, told in cases:
        done = run(SNAPINIT, "--config", path, "true")
        assert done.returncode == 125 and told in done.stderr
    if os.geteuid() != 0:
        pytest.skip("only root minds a file that everybody may write")
    done = run(SNAPINIT, "--config", conf("grace = 1s\n", 0o666), "true")
    assert done.returncode == 125 and "may be written by everybody" in done.stderr


def test_file_beside_the_program_is_found(tmp_path):
    if os.path.exists("/etc/snapinit.conf"):
        pytest.skip("/etc/snapinit.conf is there and comes first")
    for folder in ("bin", "etc"):
        (tmp_path / folder).mkdir()
    program = tmp_path / "bin" / "snapinit"
    program.write_bytes(pathlib.Path(SNAPINIT).read_bytes())
    program.chmod(0o755)
    (tmp_path / "etc" / "snapinit.conf").write_text("log-level = loud\n")
    done = run(program, "true")
    assert done.returncode == 125 and f"{tmp_path}/etc/snapinit.conf:1:" in done.stderr
    assert run(program, "--config", "none", "true").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")
def test_run_without_wake_holds_against_the_file(conf):
    path = conf("snapshot = /nonexistent\ncapture = first-boot\nfallback = none\n")
    done = run(SNAPCTL, "run", "--no-wake", "--", "true", SNAPINIT_CONFIG=path)
    assert done.returncode == 0, done.stderr
    done = run(SNAPCTL, "run", "--", "true", SNAPINIT_CONFIG=path)
    assert done.returncode == 222, done.stderr
