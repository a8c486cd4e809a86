"""report.py - a bench's results as a table, as JSON and as a plot."""
import json
import math
import os
import platform
import shutil
import subprocess
import time

import peers

MIB = 1024 * 1024


def machine(top):
    """What it is measured on, and what else runs there, one line."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo") as file:
        memory = int(next(line for line in file if line.startswith("MemTotal:")).split()[1]) / MIB
    with open("/proc/self/mounts") as file:
        mounts = [line.split()[1:3] for line in file]
    disk = max((point, kind) for point, kind in mounts if top.startswith(point.rstrip("/") + "/"))[1]
    return f"{len(os.sched_getaffinity(0))} processors ({model}), {memory:.0f} GiB, {disk}, Linux {platform.release()}; load {os.getloadavg()[0]:.1f}"


# --- numbers for people ---------------------------------------------------------------------------------------------------------------

def seconds(t):
    if t is None:
        return ""
    return f"{t * 1000:.2f} ms" if t < 0.1 else f"{t:.3f} s" if t < 10 else f"{t:.1f} s"


def size(n):
    if n is None:
        return ""
    return f"{n:,.0f} B" if n < 10_000 else f"{n / 1000:,.1f} kB" if n < 1e6 else f"{n / 1e6:,.2f} MB"


def quantity(value, unit):
    if value is None:
        return ""
    if unit == "bytes":
        return size(value)
    if unit == "MiB":
        return f"{value / MIB:.1f} MiB"
    if unit == "x":
        return f"{value:.2f}x" if value >= 0.1 else f"{value:.4f}x"
    if unit == "s":
        return seconds(value) if value else "0 s"
    if unit == "ms":
        return f"{value * 1000:.1f} ms"
    return f"{value:,.0f} {unit}"


def verdict(reach):
    return {True: "met", False: "NOT MET", None: f"not measured: {reach.why or 'nothing to compare with'}"}[reach.met]


# --- the table ------------------------------------------------------------------------------------------------------------------------

HEAD = ("", "tool", "runs", "median", "worst", "on the wire", "memory", "processor")
WIDTHS = (46, 22, 5, 11, 11, 12, 10, 10)


def row(cells):
    return "".join(f"{cell:{'<' if k < 2 else '>'}{width}}" for k, (cell, width) in enumerate(zip(cells, WIDTHS))).rstrip()


def case_rows(case):
    if not case.samples:
        yield case.what
    for tool, samples in case.samples.items():
        rate, memory, cpu = case.median(tool, "rate"), case.most(tool), case.median(tool, "cpu")
        yield row((case.what if tool == next(iter(case.samples)) else "", tool, str(len(samples)),
                   f"{rate:,.0f}/s" if rate else seconds(case.median(tool)), "" if rate else seconds(case.worst(tool)),
                   size(case.median(tool, "bytes")), f"{memory / MIB:.1f} MiB" if memory else "",
                   seconds(cpu)))


def table(result):
    lines = [f"{result['when']}, {result['machine']}; make bench {result['how']}".rstrip(), ""]
    for w in result["workloads"]:
        lines += [row((f"{w.name}: {w.title}", *HEAD[1:]))] if len(w.name + w.title) + 2 < WIDTHS[0] else [f"{w.name}: {w.title}", row(HEAD)]
        for case in w.cases:
            lines += case_rows(case)
            lines += [f"    reach  {reach.what:60} {quantity(reach.seen, reach.unit):>12}  {verdict(reach)}" for reach in case.reaches]
        lines += [f"    ({remark})" for remark in w.remarks]
        lines += [f"    FAILED: {w.failed}"] if w.failed else []
        lines.append("")
    versions = result["peers"]
    lines.append("peers: " + ", ".join(f"{name} {version}" for name, version in versions.items() if version))
    lines += [f"absent: {name} (package {peers.PACKAGES[name]})" for name, version in versions.items() if not version]
    reaches = [reach.met for w in result["workloads"] for reach in w.reaches]
    lines.append(f"{reaches.count(True)} reaches met, {reaches.count(False)} not met, {reaches.count(None)} not measured")
    return "\n".join(lines)


# --- JSON -----------------------------------------------------------------------------------------------------------------------------

def as_json(result):
    def reach_json(reach):
        return {"what": reach.what, "seen": reach.seen, "limit": reach.limit, "unit": reach.unit, "at_least": reach.least, "met": reach.met,
                "why": reach.why or None}

    def case_json(case):
        return {"what": case.what, "tools": {tool: {
            "runs": len(samples), "median_seconds": case.median(tool), "worst_seconds": case.worst(tool), "bytes": case.median(tool, "bytes"),
            "memory_bytes": case.most(tool), "cpu_seconds": case.median(tool, "cpu"), "per_second": case.median(tool, "rate"),
            "seconds": [s.seconds for s in samples]} for tool, samples in case.samples.items()},
                "reaches": [reach_json(reach) for reach in case.reaches]}
    return {**result, "workloads": [
        {"name": w.name, "title": w.title, "cases": [case_json(case) for case in w.cases],
         "remarks": w.remarks, "failed": w.failed, "took_seconds": w.took} for w in result["workloads"]]}


# --- the table for a page -------------------------------------------------------------------------------------------------------------

def short(case, tool):
    rate, memory = case.median(tool, "rate"), case.most(tool)
    said = [f"{rate:,.0f}/s" if rate else seconds(case.median(tool)), size(case.median(tool, "bytes"))]
    if not any(said):
        said = [f"{memory / MIB:.1f} MiB" if memory else "", f"{seconds(case.median(tool, 'cpu'))} of processor" if case.median(tool, "cpu") is not None else ""]
    return ", ".join(filter(None, said))


def page(result):
    """Markdown: a row a case."""
    lines = ["| workload | Sameroot | others | to be reached, and seen |", "|---|---|---|---|"]
    for w in result["workloads"]:
        lines.append(f"| **{w.name}** {w.title} | | | |")
        for case in w.cases:
            ours = [tool for tool in case.samples if tool.startswith("sameroot")]
            cells = ["; ".join(f"{tool.removeprefix('sameroot').strip(', -')} {short(case, tool)}".strip() for tool in ours),
                     "; ".join(f"{tool} {short(case, tool)}" for tool in case.samples if tool not in ours),
                     "; ".join(f"{reach.what}: {quantity(reach.seen, reach.unit)} {'' if reach.met else verdict(reach)}".strip() for reach in case.reaches)]
            lines.append(f"| {case.what} | " + " | ".join(cell.replace("|", "to") for cell in cells) + " |")
    return "\n".join(lines)


# --- the plot -------------------------------------------------------------------------------------------------------------------------

PLOT = """set terminal svg size 1000,{height} font 'sans,12' background 'white'
set output '{svg}'
set title 'Sameroot: seen / to be reached, {title}'
set logscale x
set xrange [{low}:{high}]
set xlabel 'left of 1: met'
set yrange [{n}-0.5:-0.5]
set ytics ({tics}) nomirror
set grid x
set style fill solid 0.7 noborder
set arrow from 1,-0.5 to 1,{n}-0.5 nohead front lw 2 lc rgb '#000000'
unset key
set lmargin 56
plot '{data}' using (1):0:(($1<1)?$1:1):(($1<1)?1:$1):($0-0.35):($0+0.35):2 with boxxyerror lc rgb variable
"""


def plot(result, directory):
    """One bar a reach.  False: gnuplot is absent, or there is nothing to plot."""
    bars = []
    for w in result["workloads"]:
        for case, reach in ((case, reach) for case in w.cases for reach in case.reaches):
            if reach.seen is not None:
                part = (reach.limit / reach.seen if reach.seen else 1e3) if reach.least else reach.seen / reach.limit if reach.limit else None
                if part is not None:
                    bars.append((f"{w.name} {case.what}: {reach.what}"[-76:].replace("%", "%%"), min(max(part, 1e-3), 1e4), 0x2E8B57 if reach.met else 0xC0392B))
    if not bars or not shutil.which("gnuplot"):
        return False
    with open(f"{directory}/bench.dat", "w") as file:
        file.writelines(f"{part:.6g} {colour}\n" for _, part, colour in bars)
    tics = ", ".join(f'"{name}" {k}' for k, (name, _, _) in enumerate(bars))
    low = 10 ** math.floor(math.log10(min(0.5, *(part for _, part, _ in bars))))
    high = 10 ** math.ceil(math.log10(max(2, *(part for _, part, _ in bars))))
    script = PLOT.format(height=120 + 24 * len(bars), svg=f"{directory}/bench.svg", title=result["when"], low=low, high=high, n=len(bars), tics=tics,
                         data=f"{directory}/bench.dat")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    return True


def write(result, directory):
    """bench.txt, bench.md, bench.json and bench.svg; prints the first."""
    os.makedirs(directory, exist_ok=True)
    text = table(result)
    with open(f"{directory}/bench.txt", "w") as file:
        file.write(text + "\n")
    with open(f"{directory}/bench.json", "w") as file:
        json.dump(as_json(result), file, indent=1)
    with open(f"{directory}/bench.md", "w") as file:
        file.write(page(result) + "\n")
    print(text)
    drawn = plot(result, directory)
    print(f"{directory}/bench.txt, bench.md, bench.json" + (", bench.svg" if drawn else "; no plot: gnuplot is absent" if not shutil.which("gnuplot") else ""))


def now():
    return time.strftime("%Y-%m-%d", time.gmtime())
