"""Build, compare, sign and publish a release: ``python -m scripts.release --help``.

Decisions are pure: ``version``, ``stamp``, ``notes``, ``contents``, ``signing``, ``publish``. I/O
is in ``checkout``, ``packages``, ``chart``, ``images`` and ``__main__``.
"""
