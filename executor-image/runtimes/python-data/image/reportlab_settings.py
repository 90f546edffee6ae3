"""reportlab reads this at its start: the font folders for TTFont(NAME, "NanumGothic.ttf")."""

TTFSearchPath = (
    "/usr/share/fonts/truetype/nanum",
    "/usr/share/fonts/truetype",
    "%(REPORTLAB_DIR)s/fonts",
    "%(CWD)s/fonts",
    "~/fonts",
    "~/.fonts",
)
