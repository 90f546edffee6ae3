"""Read by reportlab when it starts: where TTFont("NanumGothic", "NanumGothic.ttf") finds fonts."""

TTFSearchPath = (
    "/usr/share/fonts/truetype/nanum",
    "/usr/share/fonts/truetype",
    "%(REPORTLAB_DIR)s/fonts",
    "%(CWD)s/fonts",
    "~/fonts",
    "~/.fonts",
)
