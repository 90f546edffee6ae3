"""Programs that show what a program can see of the way it was started."""

SAME = {
    "interpreter": """
import sys
modules = sorted(sys.modules)
import builtins, os, site, threading
print(modules)
print(sys.argv, sys.orig_argv, sys.path, sys.executable, sys.prefix, sys.flags, sys.warnoptions)
print(sorted(sys.path_importer_cache), [type(finder).__name__ for finder in sys.meta_path])
print(__name__, __file__, __spec__, __package__, sorted(globals()), sorted(vars(builtins)))
print(site.ENABLE_USER_SITE, site.USER_SITE, [t.name for t in threading.enumerate()])
""",
    "environment": """
import ctypes, os, subprocess, sys
print(list(os.environ.items()), os.environ, type(os.environ))
print(subprocess.run(["env"], capture_output=True, text=True).stdout)
child = [sys.executable, "-c", "import sys; print(sys.path, sorted(sys.modules))"]
print(subprocess.run(child, capture_output=True, text=True).stdout)
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(getenv(b"GREETING"), getenv(b"PYTHONPATH"), getenv(b"NANOGRID_WAITING"))
""",
    "time zone": "import time; print(time.tzname, time.timezone, time.localtime(0))",
    "process": """
import os, resource, signal
print(os.getcwd(), oct(os.umask(0o77)), os.getuid(), os.getgroups())
print(sorted(os.listdir("/proc/self/fd")))
print(os.getsid(0) == os.getpgid(0) == os.getpid())
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
print([signal.getsignal(number) for number in range(1, 65)])
names = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
print([(name, resource.getrlimit(getattr(resource, name))) for name in names])
print(open("/proc/self/oom_score_adj").read(), os.nice(0))
for line in open("/proc/self/status"):
    if line.startswith(("Sig", "Shd", "NoNewPrivs", "Threads", "Cap", "Seccomp")):
        if not line.startswith("SigQ"):
            print(line, end="")
import ctypes
print(ctypes.CDLL(None).prctl(3))
""",
    "stdin": """
import os, stat, sys
f = sys.stdin
print(f, f is sys.__stdin__, f.seekable(), f.isatty(), f.fileno(), f.buffer, f.buffer.raw)
print(f.encoding, f.errors, f.newlines, f.line_buffering, f.write_through, f.name, f.mode)
print(stat.S_IFMT(os.fstat(0).st_mode), os.get_inheritable(0), os.get_blocking(0))
print(f.readline(), [line for line in f], f.read(), sys.stdin.buffer.read())
""",
    "input": "print(input('? '))",
    "output": """
import sys
for f in (sys.stdout, sys.stderr):
    print(f, f.seekable(), f.isatty(), f.encoding, f.errors, f.line_buffering, f.write_through)
    f.write("half a line")
""",
    "exception": """
def outer(): inner()
def inner(): raise ValueError("한국어")
outer()
""",
    "exception in a module": "import json; json.loads('{')",
    "exit 7": "import sys; sys.exit(7)",
    "exit text": "raise SystemExit('no')",
    "exit none": "print(1); raise SystemExit",
    "exit 300": "import os; os._exit(300 & 0xff)",
    "syntax error": "def f(:",
    "interrupt": "raise KeyboardInterrupt",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM); signal.pause()",
    "atexit": "import atexit; atexit.register(print, 'bye'); print('hi')",
    "threads": """
import threading
def show(): print(threading.current_thread().name, threading.main_thread().name)
threads = [threading.Thread(target=show) for _ in range(3)]
for t in threads: t.start(); t.join()
def fail(): raise ValueError("in a thread")
t = threading.Thread(target=fail); t.start(); t.join()
""",
    "multiprocessing": """
import multiprocessing, os, sys
def work(n): return n * n, os.environ.get("GREETING"), [p for p in sys.path if "waiting" in p]
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(work, range(3)))
""",
    "pickle": """
import pickle
class A: pass
print(pickle.loads(pickle.dumps(A())).__class__, A.__module__)
""",
    "subinterpreter": """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters
code = "import os, sys; print(sys.path, sorted(sys.modules), list(os.environ), flush=True)"
interpreters.run_string(interpreters.create(), code)
""",
    "another file": "import beside; print(beside.__file__, beside.NAME)",
}
