"""Gives matplotlib the image's font list, without an environment variable.

User code gets no environment from the image, and its home is empty. So matplotlib would search all
fonts in each new sandbox, and would not know the names that prepare.py adds. A ``.pth`` file
imports this module when Python starts, which costs almost nothing. When matplotlib is about to load
its font list, this module links the prepared list into the cache folder. matplotlib chooses that
folder by its own rules (``MPLCONFIGDIR``, ``XDG_CACHE_HOME``, home).
"""

import os
import sys

FONT_LISTS = "/opt/nanogrid/runtime-fonts"  # fontlist-*.json, written by prepare.py


class FontListLinker:
    """An import hook that finds no module; it runs when matplotlib imports its font manager."""

    def __init__(self, font_lists: str) -> None:
        self.font_lists = font_lists

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Link the font lists at the import of matplotlib.font_manager; other hooks find it."""
        if name != "matplotlib.font_manager":
            return
        sys.meta_path.remove(self)
        try:
            self.link(sys.modules["matplotlib"].get_cachedir())
        except OSError:
            return  # an unusable cache folder: matplotlib creates its own list

    def link(self, folder: str) -> None:
        """Link the prepared lists into a cache folder; existing lists are kept."""
        for name in os.listdir(self.font_lists):
            target = os.path.join(folder, name)
            if not os.path.lexists(target):
                os.symlink(os.path.join(self.font_lists, name), target)


sys.meta_path.insert(0, FontListLinker(FONT_LISTS))
