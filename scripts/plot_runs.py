#!/usr/bin/env python3
"""Runs of `pivot train` side by side, for docs/results: one JSON and two SVGs from their metrics.

    python3 scripts/plot_runs.py OUT NAME=RUN/metrics.jsonl[:union.json] ...

Writes OUT/runs.json (losses as means of ten steps, held-out losses, attention statistics), OUT/loss.svg (training loss,
held-out loss as dots) and, where union files of `pivot study union` are given, OUT/union.svg (by layer).
"""

import json
import pathlib
import sys

COLORS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"]
WIDTH, HEIGHT, LEFT, BOTTOM, RIGHT, TOP = 640, 340, 56, 44, 150, 20
WINDOW = 10


def read_run(path):
    lines = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    run = next(line for line in lines if line["kind"] == "run")
    diagnostics = [line for line in lines if line["kind"] == "diagnostics"]
    mean = lambda values: sum(values) / len(values)
    return {
        "device": run.get("device_name"), "dtype": run.get("dtype"), "parameters": run.get("parameters"),
        "attention": run.get("attention_schedule"), "kernels": run.get("attention_path"),
        "seconds": steps[-1]["elapsed"], "tokens": steps[-1]["tokens"],
        "loss": [[steps[i]["step"], round(mean([s["loss"] for s in steps[max(0, i - WINDOW + 1):i + 1]]), 4)]
                 for i in range(WINDOW - 1, len(steps), WINDOW)],
        "held_out": [[line["step"], round(line["loss"], 4)] for line in lines if line["kind"] == "validation"],
        "attention_by_layer": [
            {"step": d["step"], "kept_mass": [round(mean(x["kept_mass"]), 4) for x in d["layers"]],
             "entropy": [round(mean(x["entropy"]), 3) for x in d["layers"]],
             "k": round(d["layers"][-1]["k"], 1)} for d in diagnostics],
    }


class Chart:
    """Axes with ticks; lines and dots in data coordinates."""

    def __init__(self, x_range, y_range, x_label, y_label):
        self.x_range, self.y_range = x_range, y_range
        self.parts = []
        self.legend = 0
        for i in range(6):
            x = x_range[0] + (x_range[1] - x_range[0]) * i / 5
            y = y_range[0] + (y_range[1] - y_range[0]) * i / 5
            self.text(self.x(x), HEIGHT - BOTTOM + 16, f"{x:.4g}", "middle")
            self.text(LEFT - 6, self.y(y) + 4, f"{y:.3g}", "end")
            self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(y):.1f}" y2="{self.y(y):.1f}" '
                              'stroke="#ddd"/>')
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, "middle")
        self.text(LEFT, TOP - 6, y_label, "start")

    def x(self, value):
        low, high = self.x_range
        return LEFT + (WIDTH - RIGHT - LEFT) * (value - low) / (high - low)

    def y(self, value):
        low, high = self.y_range
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - low) / (high - low)

    def text(self, x, y, words, anchor):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>')

    def line(self, points, color, name, dash=""):
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6" '
                          f'stroke-dasharray="{dash}"/>')
        y = TOP + 14 + 18 * self.legend
        self.parts.append(f'<line x1="{WIDTH - RIGHT + 12}" x2="{WIDTH - RIGHT + 36}" y1="{y - 4}" y2="{y - 4}" '
                          f'stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"/>')
        self.text(WIDTH - RIGHT + 42, y, name, "start")
        self.legend += 1

    def dots(self, points, color):
        self.parts += [f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3" fill="{color}"/>' for x, y in points]

    def save(self, path):
        path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
                        f'font-family="sans-serif" font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" '
                        'fill="white"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


def plot_loss(runs, path):
    last = max(run["loss"][-1][0] for run in runs.values())
    low = min(y for run in runs.values() for _, y in run["loss"] + run["held_out"])
    chart = Chart((0, last), (int(low * 2) / 2, 7), "steps", "loss, nats (lines: training; dots: held out)")
    for color, (name, run) in zip(COLORS, runs.items()):
        chart.line([p for p in run["loss"] if p[1] <= 7], color, name)
        chart.dots(run["held_out"], color)
    chart.save(path)


def plot_union(unions, path):
    layers = max(len(r["share"]) for u in unions.values() for r in u["results"])
    top = max(sum(layer) / len(layer) for u in unions.values() for r in u["results"] for layer in r["share"])
    chart = Chart((0, layers - 1), (0, int(top * 10 + 1) / 10), "layer", "union share of 128 rows, mean over heads")
    for color, (name, union) in zip(COLORS, unions.items()):
        for dash, result in zip(("", "6 3", "2 2"), union["results"]):
            chart.line([(i, sum(layer) / len(layer)) for i, layer in enumerate(result["share"])], color,
                       f"{name}, {result['attention'].removeprefix('topk:')}", dash)
    chart.save(path)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    runs, unions = {}, {}
    for word in sys.argv[2:]:
        name, _, files = word.partition("=")
        metrics, _, union = files.partition(":")
        runs[name] = read_run(metrics)
        if union:
            unions[name] = json.loads(pathlib.Path(union).read_text())
            unions[name].pop("model", None)
    text = json.dumps({"runs": runs, "union": unions}, separators=(",", ":"))
    (out / "runs.json").write_text(text.replace("],[", "],\n[") + "\n")
    plot_loss(runs, out / "loss.svg")
    if unions:
        plot_union(unions, out / "union.svg")


if __name__ == "__main__":
    main()
