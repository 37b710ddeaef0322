"""To import a module of ours changes nothing of the process: a person, a test or a tool of documentation may do it."""

import json
import subprocess
import sys

IMPORT_ALL = """
import atexit, importlib, json, os, pkgutil, signal, sys, threading

registered = []

def noting(register):
    def wrapped(function, *args, **kwargs):
        registered.append(function)
        return register(function, *args, **kwargs)
    return wrapped

atexit.register, threading._register_atexit = noting(atexit.register), noting(threading._register_atexit)
os.register_at_fork = lambda **hooks: registered.extend(hooks.values())
folder = os.getcwd()

import espalier

def of_ours(hook):
    hook = getattr(hook, "__func__", hook)
    return (getattr(hook, "__module__", None) or type(hook).__module__).partition(".")[0] == "espalier"

for module in pkgutil.walk_packages(espalier.__path__, "espalier."):
    if not module.name.endswith("__main__") and ".migrations." not in module.name:  # Alembic alone runs those
        importlib.import_module(module.name)
hooks = [
    *registered, *sys.meta_path, *sys.path_hooks, sys.excepthook, sys.displayhook, sys.unraisablehook,
    threading.excepthook, threading.gettrace(), threading.getprofile(),
    *map(signal.getsignal, signal.valid_signals()),
]
print(json.dumps({
    "hooks": [repr(hook) for hook in hooks if of_ours(hook)],
    "folder": os.getcwd() != folder,
    "threads": threading.active_count() - 1,
    "modules": sum(name.startswith("espalier.") for name in sys.modules),
}))
"""


def test_to_import_every_module_leaves_no_hook_no_thread_and_the_folder_as_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("modules") > 300
    assert found == {"hooks": [], "folder": False, "threads": 0}
