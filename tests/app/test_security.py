import base64

import pytest
from tests.app.running import running
from tests.small_bundles import PATIENT

from il7ml.app.security import check_address, find_token, read_token
from il7ml.errors import InputError

TOKEN = "a-token-of-twenty-six-signs"


@pytest.fixture(scope="module")
def guarded(current):
    with running(current, token=TOKEN) as found:
        yield found


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", TOKEN, f"Token {TOKEN}", basic(TOKEN, "x"), "Basic ?",
     "Bearer \xe9"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/metrics", "/openapi.json", "/style.css", "/nowhere"])
def test_without_the_token_nothing_is_given(guarded, path, given):
    reply = guarded.get(path, Authorization=given)
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Basic ")
    assert reply.json() == {"detail": "a token is needed: send it as 'Authorization: Bearer TOKEN'."}


def test_without_the_token_no_patient_is_answered(guarded):
    assert guarded.post("/predict", PATIENT).status == 401
    assert guarded.post("/predict/batch", {"patients": [PATIENT]}).status == 401
    assert guarded.send_form("age=62").status == 401


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic("anybody", TOKEN), basic("", TOKEN)])
def test_with_the_token_all_is_given_by_any_host_name(guarded, given):
    assert guarded.post("/predict", PATIENT, Authorization=given, Host="ward.example").status == 200
    assert guarded.get("/", Authorization=given).status == 200


def test_probes_need_no_token(guarded):
    assert [guarded.get(path).status for path in ("/healthz", "/readyz")] == [200, 200]
    document = guarded.get("/openapi.json", Authorization=f"Bearer {TOKEN}").json()
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1:9999", 200),
        ("[::1]:8000", 200),
        ("attacker.example", 400),
        ("127.0.0.1.attacker.example", 400),
        ("localhost.attacker.example:8000", 400),
        ("[::1].attacker.example", 400),
    ],
)
def test_without_a_token_only_this_machines_names_are_answered(service, host, status):
    assert service.get("/", Host=host).status == status


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ("POST", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ("GET", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ("POST", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}, 415),
    ],
)
def test_other_sites_may_link_but_not_ask(service, method, headers, status):
    assert service.ask(method, "/", headers=headers).status == status


@pytest.mark.parametrize("path", ["/", "/healthz", "/nowhere", "/style.css", "/metrics"])
def test_every_answer_carries_the_headers(service, path):
    headers = service.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "script-src" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "ward.example"])
def test_an_open_address_needs_a_token(host):
    with pytest.raises(InputError, match="--token-file"):
        check_address(host, None)
    check_address(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_local_address_needs_none(host):
    check_address(host, None)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"with a space in between", b"\xc3\xa9" * 20, b"x" * 5000, b"a" * 20 + b"\nb"]
)
def test_an_unfit_token_is_refused_and_not_repeated(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected one token of 16 or more") as caught:
        read_token(path)
    assert "xxxx" not in str(caught.value)


def test_a_token_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_a_token_comes_from_the_file_or_the_environment(tmp_path):
    path = tmp_path / "token"
    path.write_text("0123456789abcdef")
    assert find_token(None, {}) is None
    assert find_token(None, {"IL7ML_TOKEN": f"{TOKEN}\n"}) == TOKEN
    assert find_token(path, {"IL7ML_TOKEN": TOKEN}) == "0123456789abcdef"
    with pytest.raises(InputError, match="IL7ML_TOKEN: expected one token of 16 or more") as caught:
        find_token(None, {"IL7ML_TOKEN": "short-secret"})
    assert "short-secret" not in str(caught.value)
