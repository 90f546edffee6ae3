"""A visitor of the web page without a browser: cookies, forms and the tags of a page."""

import json
import re
import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser

from nanogrid import names
from support.gateway_world import Answer, Gateway

TOKEN, USER = "the-token-of-minji", "민지"
READER_TOKEN, READER = "the-token-of-reader", "reader"  # readable without Korean fonts
FUNCTION = "resize-images"
JOBS = names.PLURAL
FUNCTIONS = names.FUNCTION_PLURAL
# The permission of each page: the same as for the same request to the API.
PAGES = (
    ("GET", "/web/", ("list", JOBS)),
    ("GET", "/web/queue", ("list", JOBS)),
    ("GET", "/web/runs/sales", ("get", JOBS)),
    ("GET", "/web/runs/sales/logs", ("get", JOBS)),
    ("GET", "/web/runs/sales/files/chart.png", ("get", JOBS)),
    ("POST", "/web/runs/sales/cancel", ("patch", JOBS)),
    ("POST", "/web/runs/sales/again", ("create", JOBS)),
    ("GET", "/web/functions", ("list", FUNCTIONS)),
    ("GET", f"/web/functions/{FUNCTION}", ("get", FUNCTIONS)),
)
PERMISSIONS = {permission for _, _, permission in PAGES}


@dataclass
class Visitor:
    """Sends a cookie and headers as a browser does."""

    gateway: Gateway
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        """GET; an underscore in a header's name is a hyphen, an empty value no header."""
        return self._keep(self.gateway.call("GET", path, None, self._headers(headers)))

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """Send a form of this page, or with other headers of another site."""
        given = {"Content-Type": "application/x-www-form-urlencoded"}
        given |= {"Sec-Fetch-Site": "same-origin"} | headers
        body = urllib.parse.urlencode(fields).encode()
        return self._keep(self.gateway.call("POST", path, body, self._headers(given)))

    def sign_in(self, token: str = TOKEN, **more: str) -> Answer:
        """Send the sign-in form."""
        return self.post("/web/sign-in", {"token": token} | more)

    def csrf_token(self) -> str:
        """The hidden field of the visitor's forms."""
        return attributes_of(self.get("/web/queue"), "input", "name", "csrf_token")["value"]

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        more = {name.replace("_", "-"): value for name, value in more.items() if value}
        return ({"Cookie": self.cookie} if self.cookie else {}) | self.headers | more

    def _keep(self, answer: Answer) -> Answer:
        if given := answer.headers.get("Set-Cookie"):
            self.cookie = given.partition(";")[0]
        return answer


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(answer.body.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect a tag."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data


def attributes_of(answer: Answer, tag: str, name: str, value: str) -> dict[str, str]:
    """All attributes of the only tag whose attribute ``name`` has this value."""
    found = [a for t, a in Tags(answer).found if t == tag and a.get(name) == value]
    assert len(found) == 1, (tag, name, value, answer.status, answer.body[-2000:])
    return found[0]


def poll(visitor: Visitor, path: str, seen: str = "") -> Answer:
    """The request of htmx for changes since the digest ``seen``."""
    separator = "&" if "?" in path else "?"
    return visitor.get(f"{path}{separator}seen={seen}", HX_Request="true")


def digest_of(answer: Answer) -> str:
    """The digest that an open page sends with its polls."""
    found: str = json.loads(attributes_of(answer, "div", "id", "live")["hx-vals"])["seen"]
    return found


def shown_runs(answer: Answer) -> list[str]:
    """The requestIds of a list of runs, from the top."""
    assert answer.status == 200, answer.body[-2000:]
    return re.findall(r'<a id="r-[^"]+" href="[^"]+">([^<]+)</a>', answer.body.decode())


def signed_in(gateway: Gateway, token: str = TOKEN, home: str = "/web/") -> Visitor:
    """A visitor after the sign-in, which leads to the first page."""
    visitor = Visitor(gateway)
    answer = visitor.sign_in(token)
    assert (answer.status, answer.headers["Location"]) == (303, home)
    return visitor
