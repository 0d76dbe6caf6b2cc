"""The rows of ./bench: which there are, and running those that are asked for."""

import argparse
import os
import signal
import sys

import boot
import disk
import fio
import image
import live
import memory
import net
import report
import serve
import soft
import start
from guest import Tools

GROUPS = {"start": start, "memory": memory, "boot": boot, "disk": disk, "fio": fio, "image": image, "serve": serve,
          "net": net, "guest": live, "soft": soft}

REALTIME_PRIORITY = 5


def main():
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--release", required=True, help="posada's build directory")
    parser.add_argument("--cache", required=True, help="where ./bench put kernels and guest files")
    parser.add_argument("--output", required=True, help="the page to write")
    parser.add_argument("--realtime", action="store_true", help="a real-time priority for all that is run")
    parser.add_argument("--only", help="rows of the group soft")
    parser.add_argument("--kernel", required=True, help="the one of the group soft: 6.1 or 6.12")
    parser.add_argument("--print", action="store_true", help="print figures, and don't write them")
    parser.add_argument("groups", nargs="+", choices=GROUPS)
    args = parser.parse_args()
    only = args.only.split(",") if args.only else []
    if unknown := [name for name in only if name not in soft.NAMES]:
        parser.error(f"no row is called {unknown[0]}; there are {', '.join(soft.NAMES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is ended, too

    if args.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    command = f"./bench {{}} --rounds {args.rounds}{' --realtime' if args.realtime else ''}"

    tools = Tools(args.release, args.cache, only, args.kernel)
    is_failed = False
    for name in args.groups:
        group = GROUPS[name]
        before = os.getloadavg()[0]
        sides, rows = group.measure(tools, args.rounds)
        text = report.section(group, command.format(name), sides, rows, (before, os.getloadavg()[0]))
        print(text, flush=True)
        if not args.print:
            report.write(args.output, [g.TITLE for g in GROUPS.values()], {group.TITLE: text})
        is_failed |= any(side.row_problem or side.problem and not side.may_skip for side in sides)
    return 1 if is_failed else 0


if __name__ == "__main__":
    sys.exit(main())
