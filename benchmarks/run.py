"""How long each method takes to come near the minimiser.

    python benchmarks/run.py [--quick] [--only NAME ...] [--methods TEXT ...] [--cap SECONDS] [--again] [--json]

**What is timed.** The wall time of one call, from data to image, that runs for n iterations, n being the smallest
number found whose image is within the accuracy asked for. n is found first, off the clock, by doubling and bisection;
then whole runs of exactly n are timed, ours and the peer's in turn, in one process with one thread count, and the
median is taken. So the clock sees no check of the accuracy, and a machine that slows down slows both.

Each problem runs in a process of its own; ``results/<problem>.json`` is written after each method, and a second start
goes on where the first one stopped.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PACKAGES = ("firenet", "torch", "numpy", "scipy", "PyWavelets", "sigpy", "deepinv", "ptwt", "pyproximal", "pylops")
PACKAGES += ("cvxpy", "clarabel")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
Run = Callable[[int], Any]


class Curve:
    """How near a variant is after n iterations: each n is run once and remembered.

    Args:
        label: The variant.
        run: From iterations to an image.
        measure: From an image to a number that falls as the image gets better.
        cap: No run that would last longer is started.
        most: No more iterations than this.
    """

    def __init__(self, label: str, run: Run, measure: Callable[[Any], float], cap: float, most: float = 1e6) -> None:
        self.label, self.run, self._measure, self._cap, self._most = label, run, measure, cap, most
        self.points: dict[int, tuple[float, float]] = {}

    def at(self, n: int) -> float:
        if n not in self.points:
            start = time.perf_counter()
            image = self.run(n)
            self.points[n] = (time.perf_counter() - start, self._measure(image))
        return self.points[n][1]

    @property
    def limit(self) -> int:
        """The most iterations that fit under the cap, by the longest run so far."""
        if not self.points:
            return 1
        n = max(self.points)
        seconds, value = self.points[n]
        if math.isinf(value) or self._stuck(n, value):
            return n
        if n == 1:  # the first run warms up, and its time says nothing
            return int(min(self._most, 2))
        return int(min(self._most, n if seconds > self._cap else n * self._cap / seconds))

    def _stuck(self, n: int, value: float) -> bool:
        """Whether a LASSO with a lambda to be tried out is at its minimiser, which is another one.

        Twice the iterations moved it by less than 0.1 %. Nobody else is stopped early: a search may pause.
        """
        before = [v for k, (_, v) in self.points.items() if 32 <= k <= n // 2]
        still = bool(before) and abs(before[-1] - value) < 1e-3 * abs(value)
        return still and self.label.startswith("lambda") and abs(value) < 0.3

    @property
    def best(self) -> float:
        return min((value for _, value in self.points.values()), default=math.inf)


def race(curves: Sequence[Curve], goal: float, tell: Callable[[str], None]) -> tuple[Curve, int] | None:
    """The first variant to reach a goal, all doubling their iterations together, and its smallest number of them.

    Smallest to within 3 %: some methods are not monotone, and then it is the crossing that bisection finds.
    """
    n = 1
    while True:
        tell(f"{n} iterations")
        reached = [c for c in curves if c.at(max(1, min(n, c.limit))) <= goal]
        if reached:
            break
        if all(c.limit <= n for c in curves):
            return None
        n *= 2
    curve = min(reached, key=lambda c: c.at(min(n, max(c.points))))
    high = min(k for k, (_, value) in curve.points.items() if value <= goal)
    low = max((k for k in curve.points if k < high), default=0)
    while high - low > max(1, 0.03 * high):
        middle = (low + high) // 2
        tell(f"{middle} iterations")
        low, high = (low, middle) if curve.at(middle) <= goal else (middle, high)
    return curve, high


def clock(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """A B A B ...: what slows the machine down for a while slows both."""
    pairs = [(clock(first), clock(second)) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def pair_seconds(first: Curve, second: Curve, rounds: int) -> tuple[float, float]:
    """Seconds for one more A and A* in each: the difference of a long and a short run, in turn."""
    slowest = max(seconds / n for c in (first, second) for n, (seconds, _) in c.points.items() if n == max(c.points))
    long = max(4, min(50, int(2 / slowest)))
    short = long // 4
    found = []
    for _ in range(rounds):
        seconds = [clock(lambda c=c, n=n: c.run(n)) for n in (short, long) for c in (first, second)]
        found.append([(seconds[k + 2] - seconds[k]) / (long - short) for k in (0, 1)])
    return statistics.median(f[0] for f in found), statistics.median(f[1] for f in found)


class Duel:
    """Our default method against the others on one problem."""

    def __init__(self, curve: Curve, reached: Mapping[str, tuple[Curve, int] | None], rounds: int) -> None:
        self.curve, self.reached, self.rounds = curve, reached, rounds

    def against(self, curve: Curve, n: int, goal: str) -> dict[str, Any]:
        """Times of a variant that reaches the goal after n iterations, and of ours beside it."""
        ours = self.reached.get(goal)
        rounds = self.rounds if curve.points[n][0] < 10 else min(self.rounds, 3)
        entry: dict[str, Any] = {"variant": curve.label, "iterations": n}
        if ours is None:
            entry["runs"] = [clock(lambda: curve.run(n)) for _ in range(rounds)]
        else:
            mine, entry["runs"] = in_turn(lambda: ours[0].run(ours[1]), lambda: curve.run(n), rounds)
            entry |= {"ours_iterations": ours[1], "ours_runs": mine, "ours_seconds": statistics.median(mine)}
        entry["seconds"] = statistics.median(entry["runs"])
        return entry


def work(name: str, wanted: Sequence[str], cap: float, rounds: int, threads: int) -> None:
    """One problem, in this process."""
    import bart
    import torch
    from peers import METHODS
    from problems import ADAPTIVE, PROBLEMS, Skip, minimiser
    from rich.console import Console
    from rich.progress import Progress

    torch.set_num_threads(threads)
    path = RESULTS / f"{name}.json"
    record = json.loads(path.read_text()) if path.exists() else {"problem": name, "methods": {}}

    def save() -> None:
        RESULTS.mkdir(exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(record, indent=1, default=float) + "\n")
        temporary.replace(path)

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{name}: minimiser", total=None)

        def tell(what: str) -> None:
            progress.update(task, description=f"{name}: {what}")

        try:
            problem = PROBLEMS[name](name)
        except Skip as why:
            record["skipped"] = str(why)
            return save()
        answer = minimiser(problem, lambda done, all_: progress.update(task, completed=done, total=all_))
        record.pop("skipped", None)
        record |= {
            "environment": environment(threads),
            "settings": {"cap": cap, "rounds": rounds, "accuracies": problem.accuracies},
            "shape": problem.shape,
            "lam": problem.lam,
            "recipe": problem.recipe,
            "minimiser": {
                "relative_gap": answer.gap,
                "layers": answer.layers,
                "relative_residual": answer.residual / float(torch.linalg.vector_norm(problem.y)),
            },
        }
        methods = [m for m in METHODS if problem.only is None or m.name in problem.only]

        def about(method: str) -> Callable[[str], None]:
            return lambda what: tell(f"{method}, {what}")

        def curves_of(method: Any) -> list[Curve]:
            most = 1 if method.once else 1e6
            return [Curve(k, run, answer.distance, cap, most) for k, run in method.build(problem, answer).items()]

        # The one the others are timed with: the adaptive schedule, or the paper's while there is none.
        duel = None
        for method in (m for m in methods if m.name in (ADAPTIVE, "paper schedule")):
            try:
                curve = curves_of(method)[0]
            except Skip:
                continue
            reached = {}
            for goal in problem.accuracies:
                reached[f"{goal:g}"] = race([curve], goal, about(method.name))
            duel, record["champion"] = Duel(curve, reached, rounds), method.name
            break
        progress.update(task, completed=0, total=len(methods))
        for method in methods:
            progress.advance(task)
            known = record["methods"].get(method.name, {})
            chosen = not wanted or any(w.lower() in method.name.lower() for w in wanted)
            if not chosen or ("reached" in known and not wanted):
                continue
            entry: dict[str, Any] = {"package": method.package, "ours": method.ours}
            try:
                champion = duel is not None and method.name == record["champion"]
                curves = [duel.curve] if champion and duel else curves_of(method)
                entry["reached"] = {}
                for goal in problem.accuracies:
                    key = f"{goal:g}"
                    found = race(curves, goal, about(method.name))
                    if found is None:
                        entry["reached"][key] = {"more_than": cap, "nearest": min(c.best for c in curves)}
                    elif champion or duel is None:
                        entry["reached"][key] = Duel(found[0], {}, rounds).against(*found, key)
                    else:
                        entry["reached"][key] = duel.against(*found, key)
                if duel is not None and not champion and not method.once:
                    tell(f"{method.name}, seconds an iteration")
                    ours, theirs = pair_seconds(duel.curve, curves[0], rounds)
                    entry |= {"pair_seconds": theirs, "ours_pair_seconds": ours}
                entry["curves"] = {
                    c.label: [[n, s, d] for n, (s, d) in sorted(c.points.items()) if math.isfinite(d)] for c in curves
                }
            except Skip as why:
                entry["skipped"] = str(why)
            except Exception as error:  # a peer that fails is a result, and does not end the others
                entry = {"package": method.package, "ours": method.ours, "skipped": f"failed: {error!r}"[:300]}
            record["methods"][method.name] = entry
            save()
        if not problem.only and (not wanted or "BART" in wanted) and "equal_psnr" not in record:
            tell("BART")
            try:
                pics = bart.Pics(problem)
                measure = bart.quality(problem)
                theirs = Curve(f"lambda {pics.lam:g}", pics, measure, cap)
                if duel is None:
                    raise Skip("none of our methods is there to compare with")
                mine = Curve("ours", duel.curve.run, measure, cap)
                for curve in (mine, theirs):
                    for k in range(11):
                        curve.at(max(1, min(2**k, curve.limit)))
                goal = max(mine.best, theirs.best) + bart.SLACK
                found = [race([c], goal, about("BART")) for c in (mine, theirs)]
                (a, n), (b, k) = (f for f in found if f is not None)  # both have been there
                seconds = in_turn(lambda: a.run(n), lambda: b.run(k), rounds)
                record["equal_psnr"] = {
                    "psnr": -goal,
                    "best": {"ours": -mine.best, "BART": -theirs.best, "minimiser": -measure(answer.image)},
                    "iterations": {"ours": n, "BART": k},
                    "seconds": {"ours": statistics.median(seconds[0]), "BART": statistics.median(seconds[1])},
                    "BART": {"version": pics.version, "lambda": pics.lam, "start_seconds": pics.start_seconds},
                    "runs": seconds,
                }
            except Skip as why:
                record["equal_psnr"] = {"skipped": str(why)}
        record["complete"] = not wanted or record.get("complete", False)
        save()
    return None


def environment(threads: int) -> dict[str, Any]:
    """Versions, machine and date."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": threads,
        "versions": versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small problems, a cap of 10 s, one round")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="problems by name; their names come with --list")
    parser.add_argument("--methods", nargs="+", metavar="TEXT", default=[], help="methods whose name contains this")
    parser.add_argument("--cap", type=float, help="seconds after which a run counts as '>' (120)")
    parser.add_argument("--rounds", type=int, help="runs a median is taken of (5)")
    parser.add_argument("--threads", type=int, default=1, help="for everybody (1: NumPy's FFT has no more)")
    parser.add_argument("--again", action="store_true", help="measure anew what has a result")
    parser.add_argument("--json", action="store_true", help="print all results of these problems at the end")
    parser.add_argument("--list", action="store_true", help="print the names of the problems")
    parser.add_argument("--worker", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cap = arguments.cap or (10.0 if arguments.quick else 120.0)
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    if arguments.worker:
        return work(arguments.worker, arguments.methods, cap, rounds, arguments.threads)
    from problems import FULL, PROBLEMS, QUICK

    if arguments.list:
        print("\n".join(PROBLEMS))
        return None
    names = arguments.only or (QUICK if arguments.quick else FULL)
    if unknown := [name for name in names if name not in PROBLEMS]:
        parser.error(f"no such problem: {', '.join(unknown)}; see --list")
    for k, name in enumerate(names, start=1):
        path = RESULTS / f"{name}.json"
        if arguments.again and not arguments.methods:
            path.unlink(missing_ok=True)
        if path.exists() and json.loads(path.read_text()).get("complete") and not arguments.methods:
            print(f"[{k}/{len(names)}] {name}: done before", file=sys.stderr)
            continue
        print(f"[{k}/{len(names)}] {name}", file=sys.stderr)
        passed = ["--cap", str(cap), "--rounds", str(rounds), "--threads", str(arguments.threads)]
        passed += ["--methods", *arguments.methods] if arguments.methods else []
        threads = dict.fromkeys(THREADS, str(arguments.threads))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--worker", name, *passed], env=os.environ | threads, check=False
        )
        if done.returncode:
            print(f"{name} ended with {done.returncode}; what was measured is kept", file=sys.stderr)
    if arguments.json:
        found = [RESULTS / f"{name}.json" for name in names]
        print(json.dumps([json.loads(path.read_text()) for path in found if path.exists()], indent=1))
    return None


if __name__ == "__main__":
    main()
