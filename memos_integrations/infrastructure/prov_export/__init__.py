"""Exports of a provenance graph, and questions to it: pure functions over what ``lineage`` gives.

For programs: :mod:`.prov_json` (W3C PROV-JSON), :mod:`.graphml`. For people: :mod:`.timeline`
(plain text), :mod:`.mermaid`, :mod:`.picture` (PNG and SVG), :mod:`.page` (HTML to click
through); :mod:`.saving` chooses among them. :mod:`.questions` asks what came from what,
:mod:`.blaming` who brought which words, :mod:`.comparing` what changed; :mod:`.folding` leaves the
versions alone.
"""
