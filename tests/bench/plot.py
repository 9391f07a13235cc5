# SPDX-License-Identifier: MIT
"""The ratios to native as a picture: a line for each case, a dot for each file system, on a scale of powers."""
import math
from html import escape

COLOURS = ["#7f7f7f", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#aec7e8"]
OURS = ["#d62728", "#ff7f0e", "#e377c2", "#f7b6d2", "#ff9896", "#ffbb78"]
LABELS, WIDTH, ROW, TOP = 470, 620, 22, 70


def colours(peers):
    """Warm colours for memmapfs-fuse, cold ones for the others."""
    ours = others = 0
    chosen = {}
    for peer in peers:
        if peer["ours"]:
            chosen[peer["name"]] = OURS[ours % len(OURS)]
            ours += 1
        else:
            chosen[peer["name"]] = COLOURS[others % len(COLOURS)]
            others += 1
    return chosen


def svg(results):
    """The picture's text, or None where nothing was compared with native."""
    peers = [peer for peer in results["peers"] if peer["kind"] not in ("native", "bare")]
    rows = []
    for case in results["cases"]:
        dots = [(name, figures["ratio_to_native"]) for name, figures in case["results"].items()
                if name != "native" and "ratio_to_native" in figures]
        if dots:
            rows.append((case["title"], dots))
    if not rows:
        return None
    chosen = colours(peers)
    ratios = [ratio for _, dots in rows for _, ratio in dots]
    low = math.floor(math.log10(min(min(ratios), 0.1)))
    high = math.ceil(math.log10(max(max(ratios), 2)) * 2) / 2

    def x_of(ratio):
        return LABELS + (math.log10(ratio) - low) / (high - low) * WIDTH

    columns = 4
    legend_rows = (len(peers) + columns - 1) // columns
    top = TOP + legend_rows * 18
    height = top + len(rows) * ROW + 40
    width = LABELS + WIDTH + 30
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
           'font-family="sans-serif" font-size="12">' % (width, height, width, height),
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="10" y="22" font-size="16">Speed as a multiple of native</text>',
           '<text x="10" y="40" fill="#555">%s</text>' % escape("%s, Linux %s, medians of %d" % (
               results["machine"]["processor"], results["machine"]["kernel"], results["settings"]["runs"]))]
    for index, peer in enumerate(peers):
        x, y = 16 + index % columns * (width - 20) / columns, 62 + index // columns * 18
        out.append('<circle cx="%.0f" cy="%.0f" r="5" fill="%s"/><text x="%.0f" y="%.0f">%s</text>' % (
            x, y, chosen[peer["name"]], x + 10, y + 4, escape(peer["name"])))
    bottom = top + len(rows) * ROW
    for decade in range(low, math.ceil(high) + 1):
        for digit in (1, 2, 5):
            ratio = digit * 10.0 ** decade
            if not low - 1e-9 <= math.log10(ratio) <= high + 1e-9:
                continue
            x = x_of(ratio)
            out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>' % (
                x, top, x, bottom, "#333" if ratio == 1 else "#ddd"))
            out.append('<text x="%.1f" y="%d" text-anchor="middle">%g</text>' % (x, bottom + 16, ratio))
    for index, (title, dots) in enumerate(rows):
        y = top + index * ROW + ROW / 2
        out.append('<text x="%d" y="%.0f" text-anchor="end" font-size="11">%s</text>' % (
            LABELS - 10, y + 4, escape(title)))
        out.append('<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#eee"/>' % (LABELS, y, LABELS + WIDTH, y))
        # ours last, so that nothing hides them
        for name, ratio in sorted(dots, key=lambda dot: chosen[dot[0]] in OURS):
            out.append('<circle cx="%.1f" cy="%.0f" r="4.5" fill="%s" fill-opacity="0.85" stroke="white">'
                       '<title>%s: %.2f</title></circle>' % (x_of(ratio), y, chosen[name], escape(name), ratio))
    out.append("</svg>")
    return "\n".join(out) + "\n"
