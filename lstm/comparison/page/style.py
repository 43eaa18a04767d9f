"""How a page looks: in light and in dark, on a desk and on a phone, and on paper."""

from __future__ import annotations

LIGHT = {
    "page": "#f5f6f8",
    "card": "#ffffff",
    "text": "#1a1f26",
    "faint": "#5c6773",
    "rule": "#e2e6eb",
    "tint": "#eef1f5",
    "ours": "#1f62b0",
    "numpy": "#b3bac3",
    "good": "#1b7a4a",
    "good-tint": "#e3f4ea",
    "bad": "#b3261e",
    "bad-tint": "#fbe7e5",
    "note": "#8a5a00",
    "note-tint": "#fdf3dc",
    "gate-i": "#2a9d6f",
    "gate-f": "#2f78c4",
    "gate-g": "#c9741a",
    "gate-o": "#8a5bc7",
}
DARK = {
    "page": "#0f1216",
    "card": "#171b21",
    "text": "#e7ebf0",
    "faint": "#98a3af",
    "rule": "#2a313a",
    "tint": "#20262e",
    "ours": "#6cb0ff",
    "numpy": "#59636e",
    "good": "#63d297",
    "good-tint": "#14301f",
    "bad": "#ff8a80",
    "bad-tint": "#3a1a18",
    "note": "#f0bd5a",
    "note-tint": "#33270c",
    "gate-i": "#4cc596",
    "gate-f": "#68aaf0",
    "gate-g": "#eda04c",
    "gate-o": "#b18bea",
}

RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);
 font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:64rem;margin:0 auto;padding:3rem 1.5rem 2rem}
code{font:0.92em/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
 overflow-wrap:anywhere}
h1,h2,h3,h4,p,dl,dd{margin:0}
.kicker{color:var(--faint);font-size:.8rem;font-weight:600;letter-spacing:.09em;text-transform:uppercase}
h1{font-size:2.1rem;line-height:1.2;letter-spacing:-.015em;margin:.35rem 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;letter-spacing:-.01em;margin-bottom:.85rem}
h3{font-size:1rem;margin:1.5rem 0 .6rem}
section{margin-top:3rem}
section>p,.lead{color:var(--faint);max-width:46rem;margin-bottom:1rem}
.verdict{display:inline-block;margin-top:1rem;padding:.3rem .8rem;border-radius:2rem;font-weight:600;
 font-size:.9rem;color:var(--good);background:var(--good-tint)}
.verdict.bad{color:var(--bad);background:var(--bad-tint)}
.card{background:var(--card);border:1px solid var(--rule);border-radius:.75rem;padding:1rem 1.1rem}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:.75rem;margin-top:1.75rem}
.tiles .card{padding:.9rem 1.1rem 1rem}
.tiles b{display:block;font-size:1.55rem;line-height:1.3;letter-spacing:-.02em;font-weight:650;
 font-variant-numeric:tabular-nums}
.tiles span{display:block;color:var(--faint);font-size:.85rem}
.tiles .name{font-weight:600;margin-bottom:.1rem}
.flow{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem;margin:0 0 1.1rem;padding:0;list-style:none}
.flow li{display:flex;align-items:center;gap:.5rem}
.flow li+li::before{content:"→";color:var(--faint)}
.flow .box{background:var(--card);border:1px solid var(--rule);border-radius:.6rem;padding:.35rem .75rem;
 line-height:1.35;text-align:center}
.flow .cell{border-color:var(--ours);box-shadow:inset 0 0 0 1px var(--ours)}
.flow small{display:block;color:var(--faint);font-size:.78rem}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:.75rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.5rem .8rem;text-align:left;white-space:nowrap;border-top:1px solid var(--rule)}
th code{font-weight:400}
th{border-top:0;color:var(--faint);font-size:.8rem;font-weight:600}
td{font-size:.92rem}
.names td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:12rem;width:60%}
.numbers th:last-child,.numbers td:last-child{text-align:right}
.card dl>div,.facts dl>div{display:flex;justify-content:space-between;gap:1rem}
.facts,.options{padding:.35rem 1.1rem .4rem}
.facts dl,.options dl{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:0 2.5rem}
.facts dl>div,.options dl>div{padding:.5rem 0;box-shadow:0 1px 0 var(--rule)}
.facts dl,.options dl{overflow:hidden}
.facts dl::after,.options dl::after{content:"";grid-column:1/-1;height:1px;margin-top:-1px;
 background:var(--card);position:relative}
dt{color:var(--faint);flex:none;max-width:60%}
dd{text-align:right;min-width:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.options dl>div{display:flex;justify-content:space-between;gap:1rem}
.options dt,.options dd{font:.86rem/1.5 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.options dd{color:var(--faint)}
.options strong{color:var(--ours);font-weight:650}
.note{background:var(--note-tint);border-left:3px solid var(--note);border-radius:.4rem;padding:.55rem .9rem;
 margin:.75rem 0 0;color:var(--text);max-width:none;overflow-wrap:anywhere}
.note.bad{background:var(--bad-tint);border-color:var(--bad)}
details{margin-top:.9rem}
summary{cursor:pointer;color:var(--ours);font-weight:600;font-size:.93rem;padding:.25rem 0}
details[open]>summary{margin-bottom:.5rem}
.picks{display:flex;flex-wrap:wrap;gap:.4rem;margin:0;padding:0;list-style:none}
.picks li{background:var(--tint);border-radius:.4rem;padding:.1rem .5rem;overflow-wrap:anywhere}
.picks .this{background:var(--ours);color:var(--card)}
.gates{display:grid;grid-template-columns:repeat(4,1fr);gap:.75rem}
.gates h4{font-size:.9rem;font-weight:500;color:var(--faint);margin-bottom:.5rem}
.gates h4 b{color:var(--gate);font:700 1.05rem ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;
 margin-right:.15rem}
.gates svg{display:block;width:100%;height:4.5rem;overflow:visible}
.gates p{display:flex;justify-content:space-between;color:var(--faint);font-size:.72rem;
 border-top:1px solid var(--rule);padding-top:.15rem;margin-bottom:.5rem;font-variant-numeric:tabular-nums}
.gates dl{font-size:.84rem}
sub{font-size:.75em;line-height:0}
svg .bars{fill:var(--gate);opacity:.38}
.line{fill:none;stroke:var(--gate);stroke-width:1.6;vector-effect:non-scaling-stroke}
.zero{stroke:var(--rule);vector-effect:non-scaling-stroke}
.gate-i{--gate:var(--gate-i)}.gate-f{--gate:var(--gate-f)}
.gate-g{--gate:var(--gate-g)}.gate-o{--gate:var(--gate-o)}
.key{display:inline-flex;align-items:center;gap:.4rem;white-space:nowrap}
.key::before{content:"";width:.8rem;height:.8rem;border-radius:.2rem;background:var(--key,var(--faint))}
.key.ours{--key:var(--ours)}.key.numpy{--key:var(--numpy)}
.key.outline::before{background:none;border-top:2px solid var(--faint);height:0;border-radius:0}
.key.filled::before{opacity:.4}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:.75rem;padding:.75rem;
 overflow-x:auto}
figure img{display:block;width:100%;min-width:34rem;height:auto}
.pair{display:grid;gap:3px;min-width:8rem}
.bits{margin:.9rem 0 0}
.keys{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem}
.pair i{display:block;height:.5rem;border-radius:.25rem;background:var(--numpy);min-width:2px}
.pair i.ours{background:var(--ours)}
.meter{display:block;position:relative;width:5rem;height:.5rem;border-radius:.25rem;background:var(--tint)}
.meter i{position:absolute;inset:0 auto 0 0;border-radius:.25rem;background:var(--good);min-width:2px}
.meter.bad i{background:var(--bad)}
.ok{color:var(--good);font-weight:600}.failed{color:var(--bad);font-weight:600}
.columns{display:grid;grid-template-columns:1fr 1fr;gap:.75rem;align-items:start}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--faint);font-size:.85rem}
@media (max-width:46rem){
 body{font-size:15px}
 main{padding:1.75rem 1rem 1.5rem}
 h1{font-size:1.6rem}
 section{margin-top:2.25rem}
 .tiles,.gates{grid-template-columns:1fr 1fr}
 .columns{grid-template-columns:1fr}
 .tiles b{font-size:1.25rem}
 .tiles .card,.gates .card{padding:.75rem .8rem}
 .facts dl,.options dl{grid-template-columns:minmax(0,1fr)}
}
@media (max-width:46rem){
 .cases thead{display:none}
 .cases tr{display:grid;grid-template-columns:auto 1fr auto;gap:.35rem .9rem;padding:.75rem .85rem;
  grid-template-areas:"case case ratio" "bars bars bars" "native numpy state" "error error share"}
 .cases tr+tr{border-top:1px solid var(--rule)}
 .cases td{display:block;padding:0;border:0}
 .cases .case{grid-area:case}.cases .native{grid-area:native}.cases .numpy{grid-area:numpy}
 .cases .bars{grid-area:bars}.cases .error{grid-area:error}
 .cases .ratio{grid-area:ratio;text-align:right;font-weight:600}
 .cases .state{grid-area:state;text-align:right}
 .cases .share{grid-area:share;align-self:center}
 .cases .native,.cases .numpy,.cases .error{color:var(--faint);font-size:.85rem}
 .cases .native::before{content:"native "}.cases .numpy::before{content:"NumPy "}
 .cases .error::before{content:"error "}.cases .error::after{content:", of the allowed"}
}
@media print{
 body{background:none}
 main{max-width:none;padding:0}
 section{break-inside:avoid-page}
}
"""


def css() -> str:
    """The one style sheet of a page."""
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in colours.items()) for colours in (LIGHT, DARK)
    )
    variables = (
        f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    )
    return variables + RULES
