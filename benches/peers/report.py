"""Results of the peers: kept one by one, then written as a table and a chart.

keep PEER VERSION            adds those to the object on standard input
table RESULTS TABLE CHART    writes both from the kept objects and prints the table
"""

import json
import os
import statistics
import sys
from html import escape


def keep(peer: str, version: str) -> None:
    result = json.load(sys.stdin)
    told = result.get("durability") or os.environ.get("DURABILITY") or "not told"
    print(json.dumps({
        "peer": peer,
        "version": version,
        "enrollments": result["enrollments"],
        "seconds": result["seconds"],
        "step_transitions_per_s": result["step_transitions_per_s"],
        "under_way": result.get("under_way"),
        "durability": told,
    }))


def by_peer(path: str) -> list[tuple[str, list[dict]]]:
    peers: dict[str, list[dict]] = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            result = json.loads(line)
            peers.setdefault(result["peer"], []).append(result)
    return sorted(peers.items(), key=lambda it: -median(it[1]))


def median(results: list[dict]) -> float:
    return statistics.median(it["step_transitions_per_s"] for it in results)


def table(peers: list[tuple[str, list[dict]]]) -> str:
    lines = [
        "| Engine | Step transitions/s, median | Range | Runs | Enrollments | Under way | Durability, read back |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for peer, results in peers:
        rates = [it["step_transitions_per_s"] for it in results]
        last = results[-1]
        told = last["durability"]
        if isinstance(told, dict):
            told = ", ".join(f"{name}={value}" for name, value in told.items())
        lines.append(
            f"| {peer} {last['version']} | {median(results):,.0f} | {min(rates):,.0f}-{max(rates):,.0f} "
            f"| {len(rates)} | {last['enrollments']:,} | {last['under_way'] or '-'} | {told} |"
        )
    return "\n".join(lines) + "\n"


def chart(peers: list[tuple[str, list[dict]]]) -> str:
    most = max((median(results) for _, results in peers), default=1)
    rows = []
    for n, (peer, results) in enumerate(peers):
        rate, y = median(results), 40 + 34 * n
        rows.append(
            f'<text x="90" y="{y + 16}" text-anchor="end">{escape(peer)}</text>'
            f'<rect x="100" y="{y}" width="{420 * rate / most:.1f}" height="22" fill="#3b6ea5"/>'
            f'<text x="{108 + 420 * rate / most:.1f}" y="{y + 16}">{rate:,.0f}</text>'
        )
    height = 50 + 34 * len(peers)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" font-family="sans-serif" '
        f'font-size="14"><title>Durable step transitions per second</title>'
        f'<text x="10" y="22" font-weight="bold">Durable step transitions per second, median</text>'
        + "".join(rows)
        + "</svg>\n"
    )


def main(args: list[str]) -> None:
    match args:
        case ["keep", peer, version]:
            keep(peer, version)
        case ["table", results, to_table, to_chart]:
            peers = by_peer(results)
            text = table(peers)
            with open(to_table, "w", encoding="utf-8") as file:
                file.write(text)
            with open(to_chart, "w", encoding="utf-8") as file:
                file.write(chart(peers))
            print(text, end="")
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
