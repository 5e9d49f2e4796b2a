# SPDX-License-Identifier: Apache-2.0
"""
examples/: what can be run of them here is run, from the very files. The table of examples/README.md
is this file's.
"""

import contextlib
import json
import os
import shlex
import shutil
import socket
import struct
import subprocess
import tempfile

import pytest

from lib import engines, namespaces, oci
from lib.containers import Container, default_env
from lib.starts import HostStart, descendants_of, http_request, status_field, wait_until

yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")

MIB = 1 << 20
FEW_CAPS = ("CHECKPOINT_RESTORE", "SETPCAP")


def example(programs, name):
    return os.path.join(programs.source, "examples", name)


def documents(programs, name):
    with open(example(programs, name), encoding="utf-8") as text:
        return list(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
def bundle(programs):
    """In the build folder, which a container and a start of the host see."""
    with tempfile.TemporaryDirectory(prefix="examples.", dir=programs.build) as folder:
        dest = os.path.join(folder, "snapinit")
        made = subprocess.run([os.path.join(programs.source, "dev"), "bundle", dest],
                              capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        yield dest


# --- seccomp


@pytest.fixture(scope="module")
def profile(programs):
    with open(example(programs, "seccomp/snapinit.json"), encoding="utf-8") as text:
        return json.load(text)


def heap(programs):
    return engines.heap_engine(programs, 8041, "--heap", str(24 * MIB), "--shm", str(8 * MIB))


def test_wake_under_the_profile(boxes, profile):
    """With what examples/kubernetes gives and nothing more: read-only, two capabilities."""
    engine, options = heap(boxes.programs), {"caps": FEW_CAPS, "no_new_privs": True}
    store, answer = boxes.captured(engine, **options)
    with boxes.start(store, engine, seccomp=profile, readonly=True, store_readonly=True,
                     **options) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert status_field(start.pid, "Seccomp") == "2"
        assert int(status_field(start.pid, "CapEff"), 16) == oci.mask_of(FEW_CAPS)
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        assert engine.ask(start) == answer
        # io_uring is in the profile for this
        assert start.records("wake.fill")[0]["reader"] == "uring"


def test_wake_needs_what_the_profile_adds(boxes, profile):
    """Docker's answer to clone3 instead of ours: what examples/seccomp/README.md says of it."""
    engine = heap(boxes.programs)
    store, answer = boxes.captured(engine, caps=FEW_CAPS)
    rules = [{**rule, "names": [name for name in rule["names"] if name != "clone3"]}
             for rule in profile["syscalls"]]
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38})
    with boxes.start(store, engine, seccomp={**profile, "syscalls": rules},
                     caps=FEW_CAPS) as start:
        failed = start.wait_record("wake.failed", "wake.done")
        assert failed["event"] == "wake.failed" and "ns_last_pid" in failed["msg"], start.tail()
        assert engine.ask(start) == answer


def test_capture_under_the_profile_is_refused_by_name(boxes, profile):
    engine, store = heap(boxes.programs), boxes.workplace.store()
    with boxes.start(store, engine, capture="first-boot", seccomp=profile, caps=FEW_CAPS) as start:
        failed = start.wait_record("capture.failed", "capture.done", seconds=60)
        assert failed["event"] == "capture.failed" and "seccomp" in failed["msg"], start.tail()
        engine.ask(start)
        assert not os.path.exists(f"{store}/current")


# --- Kubernetes: containers of the manifests, as a kubelet's runtime would make them


def pod_of(document):
    return document["spec"] if document["kind"] == "Pod" else document["spec"]["template"]["spec"]


def container_of(document):
    return pod_of(document)["containers"][0]


def environment_of(container):
    return {entry["name"]: entry["value"] for entry in container.get("env", [])}


def seccomp_of(programs, security):
    """The profile on the node, which lies in examples/seccomp here."""
    wanted = security["seccompProfile"]
    if wanted["type"] == "Unconfined":
        return None
    assert wanted["type"] == "Localhost"
    path = example(programs, "seccomp/" + os.path.basename(wanted["localhostProfile"]))
    with open(path, encoding="utf-8") as text:
        return json.load(text)


class Cluster:
    """Starts containers of manifests; the volumes outlive them."""

    def __init__(self, workplace, programs, bundle):
        self.workplace = workplace
        self.programs = programs
        self.bundle = bundle
        self.volumes = {}

    def volume(self, name):
        if name not in self.volumes:
            self.volumes[name] = self.workplace.folder(name)
            os.chmod(self.volumes[name], 0o777)  # an emptyDir is
        return self.volumes[name]

    def start(self, document):
        container, security = container_of(document), container_of(document)["securityContext"]
        assert security["capabilities"]["drop"] == ["ALL"]
        sources = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName",
                                                                              volume["name"])
                   for volume in pod_of(document)["volumes"]}
        binds = [(self.bundle, "/opt/snapinit", "ro")]
        binds += [(self.volume(sources[mount["name"]]), mount["mountPath"],
                   "ro" if mount.get("readOnly") else "rw") for mount in container["volumeMounts"]]
        env = {**default_env("pod"), "KUBERNETES_SERVICE_HOST": f"10.0.0.{len(self.volumes)}",
               **environment_of(container)}
        # tmp: the manifests bring volumes for /tmp and /run
        return Container(self.workplace, container["command"] + container["args"], env=env,
                         binds=binds, tmp=False, caps=tuple(security["capabilities"]["add"]),
                         uid=security["runAsUser"], readonly=security["readOnlyRootFilesystem"],
                         no_new_privs=not security["allowPrivilegeEscalation"], filtered=False,
                         seccomp=seccomp_of(self.programs, security))


@pytest.fixture
def cluster(place, programs, bundle):
    return Cluster(place, programs, bundle)


def woken_and_serving(start):
    assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
    assert b"<title>" in start.wait_http(8000, "/")


def test_kubernetes_job_captures_and_deployment_wakes(cluster):
    _, job = documents(cluster.programs, "kubernetes/snapshot-job.yaml")
    deployment, = documents(cluster.programs, "kubernetes/deployment.yaml")
    with cluster.start(job) as start:
        assert start.wait_exit(60) == 0, start.tail()
        assert start.records("capture.done")
    for _ in range(2):
        with cluster.start(deployment) as start:
            woken_and_serving(start)
            assert start.terminate() == 143


def test_kubernetes_pod_wakes_when_it_is_restarted(cluster):
    pod, = documents(cluster.programs, "kubernetes/first-boot.yaml")
    with cluster.start(pod) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
    with cluster.start(pod) as start:
        woken_and_serving(start)


def seconds_of(duration):
    assert duration.endswith("s")
    return int(duration[:-1])


@pytest.mark.parametrize("name", ["kubernetes/snapshot-job.yaml", "kubernetes/deployment.yaml",
                                  "kubernetes/first-boot.yaml", "cloud-run/service.yaml"])
def test_manifest_is_consistent(programs, name):
    """What two of its numbers must be to each other."""
    for document in documents(programs, name):
        if document["kind"] == "PersistentVolumeClaim":
            continue
        pod, container = pod_of(document), container_of(document)
        assert container["command"][0] == "/opt/snapinit/bin/snapinit"
        assert container["command"][-1] == "--"
        env = environment_of(container)
        platform_s = 10 if name.startswith("cloud-run") else pod.get("terminationGracePeriodSeconds")
        assert document["kind"] == "Job" or seconds_of(env["SNAPINIT_GRACE"]) < platform_s
        if "startupProbe" in container:
            probe = container["startupProbe"]
            assert "httpGet" in probe and probe["failureThreshold"] * probe["periodSeconds"] <= 240
            assert probe["httpGet"]["port"] == container["ports"][0]["containerPort"]
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


def test_kubernetes_job_and_deployment_are_of_one_identity(programs):
    job = container_of(documents(programs, "kubernetes/snapshot-job.yaml")[1])
    deployment = container_of(documents(programs, "kubernetes/deployment.yaml")[0])
    for key in "image", "command", "args":
        assert job[key] == deployment[key]
    ours = [{name: value for name, value in environment_of(container).items()
             if not name.startswith("SNAPINIT_")} for container in (job, deployment)]
    assert ours[0] == ours[1]
    assert job["securityContext"]["capabilities"] == deployment["securityContext"]["capabilities"]


# --- Cloud Run: nothing of it is here; its container as a runtime would make it


def test_cloud_run_container_wakes_from_a_snapshot_of_podman(boxes, bundle):
    """With the rights of setting B, which nobody has seen there yet."""
    document, = documents(boxes.programs, "cloud-run/service.yaml")
    container, store = container_of(document), boxes.workplace.store()
    ours = environment_of(container)
    podmans = {**default_env("builder"), "container": "podman"}
    theirs = {**default_env("localhost"), "PORT": "8080", "K_SERVICE": "engine",
              "K_CONFIGURATION": "engine", "K_REVISION": "engine-00001-abc"}

    def start(command, env, readonly):
        return Container(boxes.workplace, command + container["args"], env={**env, **ours},
                         store=store, store_readonly=readonly, binds=[(bundle, "/opt/snapinit", "ro")])

    with start(["/opt/snapinit/bin/snapinit", "--capture", "exit", "--"], podmans, False) as first:
        assert first.wait_exit(60) == 0, first.tail()
    with start(container["command"], theirs, True) as later:
        assert later.wait_record("wake.done", "boot.cold")["event"] == "wake.done", later.tail()
        assert b"<title>" in later.wait_http(8080, "/")
        assert later.terminate() == 143


# --- systemd


UNITS = ["snapinit-engine", "snapinit-engine-pidns"]


def unit_of(programs, name):
    """{key: value}; no key is there twice but those of [Unit]."""
    with open(example(programs, f"systemd/{name}.service"), encoding="utf-8") as text:
        pairs = [line.strip().split("=", 1) for line in text if "=" in line and line[0] != "#"]
    return dict(pairs)


class Notified:
    """What systemd has for a service of Type=notify."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def message(self, start):
        """(text, pid of its sender)"""
        self.socket.settimeout(15)
        try:
            text, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        except TimeoutError:
            raise AssertionError(f"no message:\n{start.tail()}") from None
        return text, struct.unpack("3i", ancillary[0][2])[0]

    def drain(self):
        """The snapshot is woken once to verify it, by a snapinit that says READY=1, too."""
        self.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(4096):
                pass

    def close(self):
        self.socket.close()
        os.unlink(self.path)


def as_under_systemd(store, strict, pid):
    """ProtectSystem=strict, where the store is a mount of its own; the next pid is pid."""
    def prepare():
        if strict:
            namespaces.mount(store, store, None, namespaces.MS_BIND)
            for point in ("/", "/run"):
                namespaces.mount(None, point, None, namespaces.MS_REMOUNT | namespaces.MS_BIND |
                                 namespaces.MS_RDONLY)
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as text:
            text.write(str(pid - 1))
    return prepare


class Service:
    """Starts of a unit's ExecStart by hand. PID 1 of the namespace is a shell, which waits."""

    def __init__(self, place, programs, bundle, name):
        self.place = place
        self.unit = unit_of(programs, name)
        self.store = place.store()
        self.notified = Notified(place.folder("notify"))
        command = self.unit["ExecStart"]
        for there, here in (("/opt/snapinit", bundle), (f"/var/lib/{name}", self.store),
                            ("/opt/engine", example(programs, "systemd"))):
            command = command.replace(there, here)
        self.words = shlex.split(command)

    def start(self, pid):
        limits = self.unit.get("CapabilityBoundingSet")
        caps = tuple(limits.replace("CAP_", "").split()) if limits else None
        env = {"PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8", "INVOCATION_ID": str(pid),
               "NOTIFY_SOCKET": self.notified.path}
        strict = self.unit.get("ProtectSystem") == "strict"
        return HostStart(self.place.folder("unit"), ["/bin/sh", "-c", '"$@" & wait', "sh", *self.words],
                         env=env, caps=caps, prepare=as_under_systemd(self.store, strict, pid))

    def is_ready(self, start, event):
        """READY=1 came, the start became what was expected, and it ends as the unit says."""
        text, sender = self.notified.message(start)
        main = descendants_of(start.pid)[0]
        assert text == b"READY=1"
        assert sender == main or self.unit["NotifyAccess"] == "all"
        done = start.wait_record("capture.done", "capture.failed", "wake.done", seconds=60)
        assert done["event"] == event, start.tail()
        assert b"<title>" in start.wait_http(8000, "/")
        os.kill(main, 15)
        start.wait_exit()
        assert start.records("engine.exited")[0]["status"] == int(self.unit["SuccessExitStatus"])
        self.notified.drain()


@pytest.fixture
def service(place, programs, bundle, request):
    made = Service(place, programs, bundle, request.param)
    yield made
    made.notified.close()


@pytest.mark.parametrize("service", UNITS, indirect=True)
def test_systemd_unit_says_ready_cold_and_awake(service):
    for pid, event in (100, "capture.done"), (5000, "wake.done"), (9000, "wake.done"):
        with service.start(pid) as start:
            service.is_ready(start, event)


@pytest.mark.parametrize("service", UNITS[:1], indirect=True)
def test_systemd_unit_boots_cold_where_a_pid_is_taken(service):
    """What the other unit is for."""
    with service.start(100) as start:
        service.is_ready(start, "capture.done")
        pid = start.records("boot.cold")[0]["engine"]
    with service.start(pid) as start:  # snapinit itself has it
        service.is_ready(start, "capture.done")
        assert start.records("wake.failed", "wake.refused"), start.tail()


@pytest.mark.parametrize("name", UNITS)
def test_systemd_unit_verifies(programs, bundle, tmp_path, name):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed (package systemd)")
    with open(example(programs, f"systemd/{name}.service"), encoding="utf-8") as text:
        unit = text.read().replace("/opt/snapinit", bundle)
    path = tmp_path / f"{name}.service"
    path.write_text(unit, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0 and name not in done.stderr, done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_systemd_unit_makes_no_filter(programs, name):
    """Each of these makes systemd install one (context_has_seccomp() of its source)."""
    filters = {"LockPersonality", "MemoryDenyWriteExecute", "PrivateDevices", "ProtectClock",
               "ProtectHostname", "ProtectKernelTunables", "ProtectKernelModules",
               "ProtectKernelLogs", "RestrictAddressFamilies", "RestrictNamespaces",
               "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures",
               "SystemCallFilter", "SystemCallLog"}
    unit = unit_of(programs, name)
    words = shlex.split(unit["ExecStart"])
    assert not filters & set(unit)
    assert unit["KillMode"] == "mixed"  # snapctl passes TERM on, a second one ends the grace
    assert seconds_of(unit["TimeoutStopSec"]) > seconds_of(words[words.index("--grace") + 1])
    assert f"/var/lib/{unit['StateDirectory']}" in words


# --- podman


PODMAN_CACHE = "/var/lib/containers"  # no setting leads its blob-info-cache elsewhere

CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
lock_type = "file"
static_dir = "{0}/static"
tmp_dir = "{0}/tmp"
volume_path = "{0}/volumes"
"""

STORAGE_CONF = """
[storage]
driver = "overlay"
graphroot = "{0}/graph"
runroot = "{0}/run"
"""


@pytest.fixture
def podman(place, programs):
    """Environment of a podman whose images, containers and volumes are its own."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    cache_is_new = not os.path.exists(PODMAN_CACHE)
    with tempfile.TemporaryDirectory(prefix="podman.", dir=programs.build) as folder:
        env = {**os.environ, "CONTAINERS_CONF": f"{folder}/containers.conf",
               "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf", "NAME": f"example-{os.getpid()}"}
        for name, text in ("containers", CONTAINERS_CONF), ("storage", STORAGE_CONF):
            with open(f"{folder}/{name}.conf", "w", encoding="ascii") as out:
                out.write(text.format(folder))
        tried = subprocess.run(["podman", "info"], env=env, capture_output=True, text=True,
                               check=False)
        if tried.returncode != 0:
            pytest.skip("podman: " + tried.stderr.strip().splitlines()[-1])
        try:
            yield env
        finally:
            subprocess.run(["podman", "rm", "--all", "--force", "--time", "2"], env=env,
                           capture_output=True, check=False)
            for point in reversed(namespaces.mount_points()):
                if point.startswith(folder):
                    namespaces.umount(point)
            wait_until("end of conmon", lambda: not place.leftovers(), 10)
            if cache_is_new:
                shutil.rmtree(PODMAN_CACHE, ignore_errors=True)


def base_image(podman, place, programs):
    """An image with an engine, from nothing: no registry is asked."""
    folder = place.folder("base")
    shutil.copy("/bin/busybox", folder)
    shutil.copy(programs.fixture("static_service"), folder)
    with open(f"{folder}/Containerfile", "w", encoding="ascii") as out:
        out.write("FROM scratch\nCOPY busybox static_service /bin/\nENV PATH=/bin\n")
    subprocess.run(["podman", "build", "--isolation", "chroot", "--tag", "engine", folder],
                   env=podman, check=True, capture_output=True, timeout=60)
    return "localhost/engine"


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_podman_example(podman, place, programs, bundle):
    if not os.path.exists("/bin/busybox"):
        pytest.skip("busybox-static is not installed")
    port = free_port()
    env = {**podman, "BUNDLE": bundle, "ENGINE_IMAGE": base_image(podman, place, programs),
           "READY": f"http://127.0.0.1:{port}/health"}

    def run(mode):
        command = ["/bin/static_service", "--port", str(port)] if mode in modes else []
        done = subprocess.run([example(programs, "podman/run.sh"), mode, *command], env=env,
                              capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    modes = {"first": "capture.done", "wake": "wake.done", "wake-baked": "wake.done"}
    run("build")
    answers = []
    for mode, event in modes.items():
        if mode == "wake-baked":
            run("bake")
        assert f'"event":"{event}"' in run(mode)
        answers.append(http_request(port, "/answer"))
        pid = int(subprocess.run(["podman", "inspect", "--format", "{{.State.Pid}}", env["NAME"]],
                                 env=env, check=True, capture_output=True).stdout)
        assert status_field(pid, "Seccomp") == ("0" if mode == "first" else "2")
        run("stop")
        assert b"143" == subprocess.run(
            ["podman", "inspect", "--format", "{{.State.ExitCode}}", env["NAME"]], env=env,
            check=True, capture_output=True).stdout.strip()
    assert answers[0][0] == 200 and len(set(answers)) == 1
    run("clean")
