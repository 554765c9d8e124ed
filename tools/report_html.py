"""The report of a conversion as one self-contained page: pictures first, the same numbers as a table below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ..converter.passes import Change
from .tables import data_table

if TYPE_CHECKING:
    from .outcome import Outcome

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; }
th, td { padding: 2px 10px; text-align: left; border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
td.n { text-align: right; white-space: nowrap; }
svg text { font: 12px system-ui, sans-serif; fill: #222; }
.before { fill: #cdd5df; } .quantized { fill: #2f6db3; } .float { fill: #c07c2c; } .other { fill: #8a95a3; }
@media (prefers-color-scheme: dark) {
  body { background: #16181b; color: #ddd; } th, td { border-color: #333; }
  svg text { fill: #ddd; } .before { fill: #3a424d; }
}
"""
_ROW, _LABEL, _WIDE = 20, 300, 1080


def page(report: Outcome) -> str:
    """The whole page."""
    rows = list(report.rows())
    title = f"{report.source} → {', '.join(report.files)}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in _facts(report)) + "</ul>",
        "<h2>Files</h2>",
        _bars(
            [(report.source, report.source_bytes, "before"), *((p, n, "quantized") for p, n in report.files.items())]
        ),
    ]
    if report.data:
        title_of_data, columns, cells = data_table(report.data)
        parts += [f"<h2>{escape(title_of_data.capitalize())}</h2>", _table(columns, cells)]
    if rows:
        parts += [
            "<h2>Bytes per layer</h2>",
            "<p>Grey: before. Blue: quantized. Brown: left in float.</p>",
            _pairs(rows),
            "<h2>Bits per layer</h2>",
            _bars([(_label(r["layer"]), r["bits"], "float" if r["why"] else "quantized") for r in rows], unit=""),
            "<h2>Weights</h2>",
            _table(
                ("layer", "operator", "weight", "bits", "before", "after", "stored, or why not"),
                [
                    (
                        r["layer"],
                        r["op"],
                        "×".join(map(str, r["shape"])),
                        r["bits"],
                        r["bytes_before"],
                        r["bytes_after"],
                        r["why"] or r["form"],
                    )
                    for r in rows
                ],
            ),
        ]
    if report.quality:
        parts += [
            "<h2>SQNR of each layer quantized alone</h2>",
            "<p>The shorter, the more it loses by itself.</p>",
            _noise(report.quality, "sqnr_both"),
            "<h2>SQNR after each layer, everything before it quantized, too</h2>",
            _noise(report.quality, "sqnr"),
            "<h2>Layers</h2>",
            _table(list(report.quality[0]), [[_short(v) for v in q.values()] for q in report.quality]),
        ]
    parts += _passes(report)
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>\n<body>\n{body}\n</body></html>\n'
    )


def _facts(report: Outcome) -> Iterable[str]:
    yield f"{report.source}: {report.source_bytes:,} bytes"
    for path, size in report.files.items():
        yield f"{path}: {size:,} bytes, {size / max(report.source_bytes, 1):.1%} of the source"
    quantized = sum(not layer.reason for layer in report.layers)
    if report.layers:
        yield f"{quantized} of {len(report.layers)} weights quantized"
    yield f"{report.seconds:.2f} s"
    if report.fidelity:
        yield report.fidelity.text()
    yield from report.notes


def _passes(report: Outcome) -> list[str]:
    done = [r for r in report.passes if isinstance(r, Change)]
    refused = [r for r in report.passes if not isinstance(r, Change)]
    parts = []
    if done:
        parts += [
            "<h2>What the passes did</h2>",
            _table(("pass", "node", ""), [(r.pass_name, r.node, r.what) for r in done]),
        ]
    if refused:
        cells = [(r.pass_name, r.node, r.reason) for r in refused]
        parts += ["<h2>What they left alone</h2>", _table(("pass", "node", "why"), cells)]
    return parts


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines = []
    for row in rows:
        cells = (f'<td class="n">{c:,}</td>' if isinstance(c, int) else f"<td>{escape(str(c))}</td>" for c in row)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><tr>{head}</tr>\n" + "\n".join(lines) + "</table>"


def _pairs(rows: Sequence[dict[str, Any]]) -> str:
    """Two bars a layer: bytes before behind bytes after."""
    most = max([r["bytes_before"] for r in rows] + [1])
    shapes = []
    for k, r in enumerate(rows):
        kind = "float" if r["why"] else "quantized"
        shapes += [
            _name(k, r["layer"]),
            _bar(k, r["bytes_before"] / most, "before"),
            _bar(k, r["bytes_after"] / most, kind, inset=4),
            _value(k, max(r["bytes_before"], r["bytes_after"]) / most, f"{r['bytes_before']:,} → {r['bytes_after']:,}"),
        ]
    return _svg(len(rows), shapes)


def _bars(rows: Sequence[tuple[str, float, str]], unit: str = " bytes") -> str:
    most = max([value for _, value, _ in rows] + [1])
    shapes = []
    for k, (name, value, kind) in enumerate(rows):
        shapes += [_name(k, name), _bar(k, value / most, kind), _value(k, value / most, f"{value:,}{unit}")]
    return _svg(len(rows), shapes)


def _noise(rows: Sequence[dict[str, Any]], key: str) -> str:
    """A bar of dB a layer, the least of them in another colour; no bar where nothing is lost."""
    values = [row[key] for row in rows if row[key] is not None]
    most, least = max([*values, 1.0]), min(values, default=None)
    shapes = []
    for k, row in enumerate(rows):
        share = 0.0 if row[key] is None else max(row[key], 0.0) / most
        text = "exact" if row[key] is None else f"{row[key]:.1f} dB"
        kind = "float" if row[key] == least else "quantized"
        shapes += [_name(k, row["layer"]), _bar(k, share, kind), _value(k, share, text)]
    return _svg(len(rows), shapes)


def _short(value: Any) -> Any:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else value


def _svg(count: int, shapes: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDE} {count * _ROW + 4}" width="100%" role="img">' + "".join(shapes) + "</svg>"


def _name(k: int, name: str) -> str:
    shown = _label(name)
    shown = shown if len(shown) < 46 else f"{shown[:22]}…{shown[-22:]}"
    inside = f"{escape(shown)}<title>{escape(name)}</title>"
    return f'<text x="{_LABEL - 8}" y="{k * _ROW + 15}" text-anchor="end">{inside}</text>'


def _bar(k: int, share: float, kind: str, inset: int = 0) -> str:
    length, y, high = share * (_WIDE - _LABEL - 170), k * _ROW + 2 + inset, _ROW - 4 - 2 * inset
    return f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{length:.1f}" height="{high}"/>'


def _value(k: int, share: float, text: str) -> str:
    x = _LABEL + share * (_WIDE - _LABEL - 170) + 6
    return f'<text x="{x:.1f}" y="{k * _ROW + 15}">{escape(text)}</text>'


def _label(name: str) -> str:
    return name.partition(";")[0]
