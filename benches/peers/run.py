#!/usr/bin/env python3
"""What a request costs in scoregate, and in what one would pick instead: side by side, in one run, on the same work.

usage: benches/peers/run.py [--quick] [--only NAME,...] [--work NAME,...] [--rounds N] [--seconds S] [--no-growth]
                            [--json FILE] [--svg FILE] [--from FILE] [--smoke] [--strict] [--list]

Each proxy has one worker on processor 0; the upstream and the load share processor 1. The figure that counts is the
processor time of the proxy, all its threads, for each request that was answered as it should be: it drifts less than
rates do. Rounds are interleaved, so that whatever else the machine does hits all alike; the median is told. Figures
are to be compared within one run only.

It ends with a table of what scoregate is to reach, what it reached, and whether that is enough. Without --quick it takes
ten minutes, with it three. --smoke makes everything small and asserts no figure: it shows that everything still runs.
--strict fails where a peer that was asked for is missing, or an answer was not as it should be. --from draws the table and
the plot of a JSON file of an earlier run.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import chart  # noqa: E402
import growth  # noqa: E402
import targets  # noqa: E402
from drive import Bench, measure, processor_model, version_of  # noqa: E402
from peers import PEERS, Peer  # noqa: E402
from work import WORK, Work  # noqa: E402

# Tokens that are new: enough for a second of load.
TOKENS, TOKENS_OF_SMOKE = 5_000, 200


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, and what grows not as large as the targets say")
    parser.add_argument("--only", help="peers, comma-separated; default: all that are installed")
    parser.add_argument("--work", help="kinds of work, comma-separated; default: all")
    parser.add_argument("--rounds", type=int, help="default: 3, or 1 with --quick")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement; default: 1")
    parser.add_argument("--no-growth", action="store_true", help="only the kinds of work: no memory, reloads, latency, workers")
    parser.add_argument("--json", type=pathlib.Path, help="where the figures go")
    parser.add_argument("--svg", type=pathlib.Path, help="where the plot goes")
    parser.add_argument("--from", dest="earlier", type=pathlib.Path, help="figures of an earlier run, instead of one")
    parser.add_argument("--smoke", action="store_true", help="one short round of each, no figure asserted")
    parser.add_argument("--strict", action="store_true", help="fail where a peer is missing or an answer is wrong")
    parser.add_argument("--list", action="store_true", help="print peers and kinds of work")
    return parser.parse_args()


def chosen(asked: str | None, every: list, kind: str) -> list:
    if not asked:
        return every
    by_name = {one.name: one for one in every}
    unknown = [name for name in asked.split(",") if name not in by_name]
    if unknown:
        raise SystemExit(f"no {kind} is called {unknown[0]!r}; want one of {', '.join(by_name)}")
    return [by_name[name] for name in asked.split(",")]


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {what}", file=sys.stderr, flush=True)


def median(rounds: list[dict], what: str) -> float | None:
    values = [one[what] for one in rounds if one[what] is not None]
    return statistics.median(values) if values else None


def run(asked: argparse.Namespace, peers: list[Peer], work: list[Work]) -> dict:
    rounds = asked.rounds or (1 if asked.quick or asked.smoke else 3)
    seconds = 0.2 if asked.smoke else asked.seconds
    size = growth.SMOKE if asked.smoke else growth.QUICK if asked.quick else growth.FULL
    collected: dict = {one.name: {} for one in work}
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        algorithms = {one.algorithm for one in work if one.algorithm}
        bench = Bench(pathlib.Path(temporary), TOKENS_OF_SMOKE if asked.smoke else TOKENS, algorithms)
        for number in range(rounds):
            for one in work:
                say(f"round {number + 1} of {rounds}: {one.what}")
                for peer in filter(one.can, peers):
                    collected[one.name].setdefault(peer.name, []).append(measure(bench, one, peer, seconds))
        figures = {
            "taken": time.strftime("%Y-%m-%d"),
            "machine": {"kernel": os.uname().release, "processors": os.cpu_count(), "model": processor_model()},
            "versions": {peer.name: version_of(peer.path()) for peer in peers if peer.name != "floor"},
            "rounds": rounds,
            "seconds": seconds,
            "work": {
                name: {peer: {what: median(list_, what) for what in list_[0]} for peer, list_ in row.items()}
                for name, row in collected.items()
            },
        }
        if not asked.no_growth:
            capacity = {peer: one["rate"] for peer, one in figures["work"].get("key-get", {}).items()}
            figures["growth"] = growth.measure_all(bench, peers, size, lambda peer: capacity.get(peer, 5_000), say)
    return figures


def show(figures: dict) -> None:
    print(f"\n{'work':10} {'proxy':20} {'cpu us':>9} {'/haproxy':>9} {'/floor':>7} {'req/s':>9} {'p99 us':>8} {'wrong':>6} {'MiB':>6}")
    for name, row in figures["work"].items():
        cost = {peer: one["cpu_us"] for peer, one in row.items()}
        for peer, one in row.items():
            ratio = [f"{cost[peer] / cost[to]:.2f}" if cost.get(to) else "" for to in ("haproxy", "floor")]
            p99 = f"{one['p99_us']:.0f}" if one["p99_us"] else ""
            print(
                f"{name:10} {peer:20} {one['cpu_us']:9.2f} {ratio[0]:>9} {ratio[1]:>7} {one['rate']:9.0f} "
                f"{p99:>8} {one['wrong']:6.0f} {one['rss_kib'] / 1024:6.1f}"
            )
    for name, found in figures.get("growth", {}).items():
        print(f"\n{name}: {json.dumps(found)}")
    table = [("target", "measured", "wanted", ""), *(row.told() for row in targets.rows(figures))]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    print()
    for what, measured, wanted, verdict in table:
        print(f"{what:{widths[0]}}  {measured:>{widths[1]}}  {wanted:>{widths[2]}}  {verdict}")


def found_wrong(figures: dict) -> list[str]:
    return [f"{name}, {peer}" for name, row in figures["work"].items() for peer, one in row.items() if one["wrong"]]


def main() -> None:
    asked = options()
    if asked.list:
        for one in [*PEERS, *WORK]:
            print(f"{one.name:20} {getattr(one, 'what', '')}")
        return
    if asked.earlier:
        figures = json.loads(asked.earlier.read_text())
    else:
        peers, missing = [], []
        for peer in chosen(asked.only, PEERS, "peer"):
            (peers if peer.path() else missing).append(peer)
        for peer in missing:
            print(f"left out: {peer.name}, there is no {peer.binary} here", file=sys.stderr)
        if asked.strict and missing:
            raise SystemExit(1)
        figures = run(asked, peers, chosen(asked.work, WORK, "work"))
        figures["targets"] = [
            {"what": row.what, "measured": row.measured, "limit": row.limit, "unit": row.unit, "met": row.met, "note": row.note}
            for row in targets.rows(figures)
        ]
    show(figures)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    if asked.svg:
        asked.svg.write_text(chart.draw(figures))
    if asked.strict and (wrong := found_wrong(figures)):
        raise SystemExit(f"not every answer was as it should be: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
