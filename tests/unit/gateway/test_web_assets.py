"""The static files: an unchanged htmx, and no requests to other hosts."""

import hashlib
import re

from nanogrid_gateway.web.assets import FILES

HTMX = "htmx-2.0.11.min.js"


def test_htmx_is_the_unchanged_release_of_its_name() -> None:
    _, content, _ = FILES[HTMX]

    digest = hashlib.sha256(content).hexdigest()
    assert digest == "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    assert b'version:"2.0.11"' in content
    assert b"Zero-Clause BSD" in FILES["htmx-2.0.11.LICENSE.txt"][1]


def test_styles_and_scripts_load_nothing_from_other_hosts() -> None:
    for name in ("page.css", "page.js", "icon.svg"):
        text = FILES[name][1].decode()
        addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s\"']*|@import|url\(", text)
        assert [a for a in addresses if "www.w3.org" not in a] == [], name
