"""Gives matplotlib the image's font list, without an environment variable.

User code gets no environment from the image, and its home is empty, so matplotlib would look
through all fonts in each new sandbox, and would not know the names that prepare.py gave them. A
``.pth`` file imports this module when Python starts, which costs next to nothing. Only when
matplotlib is about to read its font list is a link to the prepared one put into the cache folder,
which matplotlib has chosen by its own rules (``MPLCONFIGDIR``, ``XDG_CACHE_HOME``, home).
"""

import os
import sys

FONT_LISTS = "/opt/nanogrid/runtime-fonts"  # fontlist-*.json, written by prepare.py


class FontListLinker:
    """An import hook that finds nothing, and hears when the font list is about to be read."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
        """Link the font list when matplotlib.font_manager is imported; let others find it."""
        if name != "matplotlib.font_manager":
            return
        sys.meta_path.remove(cls)
        try:
            link_font_lists(sys.modules["matplotlib"].get_cachedir())
        except OSError:
            return  # an odd cache folder: matplotlib makes a list of its own


def link_font_lists(folder: str) -> None:
    """Link the prepared lists into a cache folder, but for those that it has."""
    for name in os.listdir(FONT_LISTS):
        target = os.path.join(folder, name)
        if not os.path.lexists(target):
            os.symlink(os.path.join(FONT_LISTS, name), target)


sys.meta_path.insert(0, FontListLinker)
