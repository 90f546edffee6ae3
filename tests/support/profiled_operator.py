"""The operator under cProfile, which writes to the file ``PROFILE_FILE`` when it ends."""

import cProfile
import os
import runpy


def run() -> None:
    """Run the operator's entry point."""
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        runpy.run_module("nanogrid_operator", run_name="__main__", alter_sys=True)
    finally:
        profiler.disable()
        profiler.dump_stats(os.environ["PROFILE_FILE"])


if __name__ == "__main__":
    run()
