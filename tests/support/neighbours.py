"""Programs for two users of one kernel: one uses up what is counted per user, the other needs it.

Both print one line of JSON: what each kind of resource answered. ``EXHAUST`` then holds everything
until it is killed.
"""

_COMMON = """
import ctypes, errno, fcntl, json, os, platform, resource, threading, time

libc = ctypes.CDLL(None, use_errno=True)
ADD_KEY = {"x86_64": 248, "aarch64": 217}[platform.machine()]
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
threading.stack_size(65536)
kept, found, end = [], {}, threading.Event()

def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

def inotify(number):
    return checked(libc.inotify_init1(os.O_CLOEXEC))

def queue(number):
    name = b"/nanogrid-%d-%d" % (os.getpid(), number)
    descriptor = checked(libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None))
    libc.mq_unlink(name)
    return descriptor

def key(number):
    name = b"nanogrid-%d" % number
    return checked(libc.syscall(ADD_KEY, b"user", name, b"x", 1, ctypes.c_int(-2)))

def thread(number):
    started = threading.Thread(target=end.wait, daemon=True)
    try:
        started.start()
    except RuntimeError:
        raise OSError(errno.EAGAIN, "no thread")

def attempt(name, use, count):
    try:
        for number in range(count):
            kept.append(use(number))
    except OSError as error:
        os.close(os.open("/dev/null", os.O_RDONLY))  # it is not the process that has too many files
        found[name] = errno.errorcode[error.errno]
    else:
        found[name] = "ok"
"""

EXHAUST = f"""{_COMMON}
def big_pipe(number):
    ends = os.pipe()
    kept.append(ends)
    fcntl.fcntl(ends[0], F_SETPIPE_SZ, 1 << 20)

attempt("inotify", inotify, 100_000)
attempt("pipes", big_pipe, 4096)
attempt("queues", queue, 1000)
attempt("keys", key, 10_000)
attempt("threads", thread, 10_000)
print(json.dumps(found), flush=True)
time.sleep(300)
"""

USE = f"""{_COMMON}
def pipe(number):
    ends = os.pipe()
    kept.append(ends)
    if fcntl.fcntl(ends[0], F_GETPIPE_SZ) < 65536:
        raise OSError(errno.EPERM, "a small pipe")

attempt("inotify", inotify, 1)
attempt("pipes", pipe, 4)
attempt("queues", queue, 1)
attempt("keys", key, 1)
attempt("threads", thread, 20)
print(json.dumps(found), flush=True)
"""
