"""Who may talk to the portal: only its own page, under its own name, with its token; and nothing leads outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from foundationx.apps.portal.guard import MOST_BODY
from foundationx.apps.portal.place import OutsideError, Place, inside
from foundationx.apps.portal.server import address_of, create_app, hosts_of
from foundationx.core.errors import ConfigError
from tests.helpers.portal_process import PortalProcess

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-twenty-letters"
HOST = "127.0.0.1:8766"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portal")
    (folder / "data").mkdir()
    (folder / "work" / "run").mkdir(parents=True)
    (folder / "work" / "run" / "log.jsonl").write_text("")
    (folder / "outside").mkdir()
    (folder / "outside" / "log.jsonl").write_text("")
    (folder / "outside" / "report.html").write_text("secret")
    (folder / "work" / "link").symlink_to(folder / "outside")
    (folder / "work" / "run" / "report.html").symlink_to(folder / "outside" / "report.html")
    return folder


@pytest.fixture(scope="module")
def app(folders):
    return create_app(Place(folders / "data", folders / "work"), hosts_of("127.0.0.1", 8766), TOKEN)


@pytest.fixture
def client(app):
    client = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
    assert client.get("/", params={"token": TOKEN}).status_code == 303
    return client


@pytest.fixture
def stranger(app):
    return TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)


@pytest.fixture(scope="module")
def served(folders):
    with PortalProcess(folders / "data", folders / "work") as portal:
        yield portal


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_have(stranger):
    answer = stranger.get("/", params={"token": TOKEN, "view": "runs"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?view=runs"
    assert answer.headers["set-cookie"] == f"foundationx_portal_8766={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert stranger.get("/").status_code == 200


PATHS = ("/", "/api/runs", "/api/machine", "/api/disk", "/api/fusions", "/api/run/report?run=run", "/api/nothing")


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_the_token(stranger, path):
    assert stranger.get(path).status_code == 401
    stranger.cookies.set("foundationx_portal_8766", TOKEN[:-1], domain="127.0.0.1")
    assert stranger.get(path).status_code == 401


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\u0430-token", [TOKEN, "x"]])
def test_a_wrong_token_is_refused(stranger, token):
    answer = stranger.get("/", params={"token": token})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_the_token_in_the_address_opens_the_page_only(stranger):
    assert stranger.get("/api/runs", params={"token": TOKEN}).status_code == 401
    assert stranger.post("/api/fuse", params={"token": TOKEN}, json={"recipe": {}}).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8766", "127.0.0.1", "127.0.0.1:80", "127.0.0.2:8766", ""]
)
def test_another_host_is_refused_even_with_the_token(client, host):
    assert client.get("/api/runs", headers={"host": host}).status_code == 421


ELSEWHERE = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "https://127.0.0.1:8766"},
    {"origin": "http://127.0.0.1:8767"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_other_pages_are_refused_even_with_the_token(client, headers):
    assert client.get("/api/runs", headers=headers).status_code == 403
    assert client.post("/api/fuse", json={"recipe": {}}, headers=headers).status_code == 403


def test_a_form_of_another_page_cannot_post(client):
    answer = client.post("/api/runs/launch", data={"name": "x"})
    assert answer.status_code == 415
    answer = client.post("/api/runs/launch", content=json.dumps({"name": "x"}), headers={"content-type": "text/plain"})
    assert answer.status_code == 415


def test_other_methods_and_long_bodies_are_refused(client):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request(method, "/api/runs").status_code == 405
    assert client.post("/api/fuse", json={"recipe": {"name": "x" * MOST_BODY}}).status_code == 413


def test_every_answer_forbids_what_a_page_does_not_need(client, stranger):
    for answer in (client.get("/"), client.get("/api/runs"), client.get("/api/nothing"), stranger.get("/")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy and "*" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]


OUTSIDE = [
    *("..", "../outside", "run/../../outside", "/etc", "//etc", "./run", "run/.", "run//x", ".portal", "a\\b", "a\0b"),
    *("%2e%2e/outside", "link", "link/deeper", "run\n", "x" * 2000),
]


@pytest.mark.parametrize("path", ["/api/run", "/api/run/bands", "/api/run/report", "/api/run/overlays"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_are_refused(client, path, name):
    answer = client.get(path, params={"run": name})
    assert answer.status_code in (403, 404), answer.text
    assert "secret" not in answer.text


def test_a_link_in_a_run_folder_is_not_followed_out(client):
    answer = client.get("/api/run/report", params={"run": "run"})
    assert answer.status_code == 403
    assert "leads out" in answer.json()["detail"]


def test_a_link_to_a_run_elsewhere_is_not_listed(client):
    assert [run["name"] for run in client.get("/api/runs").json()] == ["run"]


def test_names_of_fusions_and_their_files_lead_nowhere(client):
    for name in ("..", "a b", "a/b", "%2e%2e", "x" * 65):
        assert client.get(f"/api/fusions/{name}").status_code == 404
        assert client.post("/api/runs/launch", json={"name": name}).status_code == 404
    for file in ("..%2frecipe.yaml", "config.pyc", "recipe.yaml"):
        assert client.get(f"/api/fusions/none/files/{file}").status_code == 404


def test_inside_follows_links_to_see_where_they_lead(tmp_path):
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "root" / "within").symlink_to(tmp_path / "root" / "real")
    assert inside(tmp_path / "root", "within/file") == tmp_path / "root" / "within" / "file"
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    with pytest.raises(OutsideError, match="leads out"):
        inside(tmp_path / "root", "out/root2")


def test_options_that_open_the_portal_to_everybody_are_refused():
    for host in ("0.0.0.0", "::"):
        with pytest.raises(ConfigError, match="every address"):
            address_of(host, 8766, None)
    for token in ("", "short", "with space and more", "läuft-durch-die-gegend"):
        with pytest.raises(ConfigError, match="letters"):
            address_of(None, 8766, token)
    tokens = {address_of(None, 8766, None).token for _ in range(10)}
    assert len(tokens) == 10 and min(map(len, tokens)) >= 40
    assert address_of("::1", 1, "x" * 16).url(1) == f"http://[::1]:1/?token={'x' * 16}"


def test_a_real_server_refuses_the_same(served):
    cookie, own = served.cookie, f"http://{served.host}"
    assert served.host.startswith("127.0.0.1:")
    assert served.ask("GET", "/api/runs", Cookie=cookie)[0] == 200
    assert served.ask("GET", "/api/runs", Cookie=cookie, Origin=own)[0] == 200
    assert served.ask("GET", "/api/runs")[0] == 401
    assert served.ask("GET", "/api/runs", Cookie=cookie[:-1])[0] == 401
    assert served.ask("GET", "/api/runs", Cookie=cookie, Host="evil.example")[0] == 421
    assert served.ask("GET", "/api/runs", Cookie=cookie, Origin="http://evil.example")[0] == 403
    assert served.ask("GET", "/api/runs", Cookie=cookie, Sec_Fetch_Site="cross-site")[0] == 403
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/run?run=../outside", "/api/run?run=%2fetc"):
        status, body, _ = served.ask("GET", path, Cookie=cookie)
        assert status in (403, 404) and b"root:" not in body
    status, body, headers = served.ask("GET", "/", Cookie=cookie)
    assert status == 200 and b"<!doctype html>" in body
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert "server" not in headers


def test_a_real_server_reads_no_body_of_unknown_length(served):
    given = {"Cookie": served.cookie, "Content_Type": "application/json"}
    assert served.ask("POST", "/api/fuse", None, **given)[0] == 411
    assert served.ask("POST", "/api/fuse", None, **given, Transfer_Encoding="chunked")[0] == 411
    assert served.ask("POST", "/api/fuse", None, **given, Content_Length="9" * 12)[0] == 413


def test_the_portal_listens_on_the_loopback_only(served):
    inodes = [os.readlink(f"/proc/{served.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{served.process.pid}/fd")]
    sockets = {name[8:-1] for name in inodes if name.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {row[1].split(":")[0] for row in rows if row[9] in sockets and row[3] == "0A"}
    assert listening == {"0100007F"}  # 127.0.0.1


def test_a_port_in_use_is_said(served, tmp_path):
    words = ["portal", "--port", str(served.port), "--work-dirs", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "foundationx.apps.cli.main", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr and "--port" in done.stderr
