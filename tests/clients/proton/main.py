"""Checks of a broker with Proton, the reference's AMQP 1.0 client.

    main.py --list                  the names of the checks
    main.py --queues                the queues they need, one a line: NAME {ARGUMENTS}
    main.py HOST:PORT [NAME...]     runs all, or those named, or whose names contain NAME

A line for each check, `NAME pass|fail|skip REASON`, then `N passed, N failed`; exit status 1 when
anything failed.
"""

import json
import signal
import sys
import traceback

import flow  # noqa: F401, each of these modules registers its checks
import nodes  # noqa: F401
import outcomes  # noqa: F401
import reconnect  # noqa: F401
import transactions  # noqa: F401
import transfers  # noqa: F401
import values  # noqa: F401
from scene import CHECKS, Scene, Skip


class TookTooLong(Exception):
    pass


def on_alarm(_signal, _frame):
    raise TookTooLong("took too long")


def reason(error):
    """One line that says what went wrong and where in the check."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "clients/proton" in f.filename]
    where = "%s:%d: " % (ours[-1].filename.rsplit("/", 1)[-1], ours[-1].lineno) if ours else ""
    text = " ".join(str(error).split())
    return "%s%s: %s" % (where, type(error).__name__, text[:300])


def run(check, address):
    scene = Scene(address)
    signal.alarm(check.seconds)
    try:
        check.run(scene)
        return "pass"
    except Skip as skip:
        return "skip %s" % skip
    except Exception as error:
        return "fail %s" % reason(error)
    finally:
        signal.alarm(5)
        try:
            scene.close()
        except Exception:
            pass  # What is left of a failed check says nothing new.
        signal.alarm(0)


def chosen(names):
    if not names:
        return CHECKS
    exact = {check.name for check in CHECKS}

    def wanted(check):
        return any(n == check.name or n not in exact and n in check.name for n in names)

    return [check for check in CHECKS if wanted(check)]


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(check.name for check in CHECKS))
        return 0
    if arguments == ["--queues"]:
        for check in CHECKS:
            for name, options in check.queues.items():
                print(name, json.dumps(options))
        return 0
    signal.signal(signal.SIGALRM, on_alarm)
    passed = failed = 0
    for check in chosen(arguments[1:]):
        outcome = run(check, arguments[0])
        passed += outcome == "pass"
        failed += outcome.startswith("fail")
        print(check.name, outcome, flush=True)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
