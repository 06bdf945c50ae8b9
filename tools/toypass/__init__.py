"""ToyPASS: procedural street scenes with exact labels, seen by a pinhole camera and by a 360 degree camera.

The data flow: ``knobs`` -> ``street`` (what stands where, made of ``vehicles``, ``people``, ``buildings``, ``plants``
and ``furniture``) -> ``scene`` (triangles and rays) -> ``cameras`` and ``looks`` -> ``render`` -> ``dataset`` (files).
World axes are metres: x along the street, y to its left, z up.
"""
