"""ToyPASS: procedural street scenes with exact labels, seen by a pinhole camera and by a 360 degree camera.

Rooms, from the bottom up; a module imports its own room and rooms below it:

- ``knobs``: every setting, as ``toypass.json`` records it
- ``things``: materials, shapes, and what is built of them: vehicles, people, plants, furniture, buildings
- ``world``: which things stand where in a street; a street as triangles that rays hit
- ``render``: cameras, weather, and the image, labels and depth that a camera sees
- ``dataset``: scenes and files of all splits, made by several processes and resumed
- ``truth``: true segments as masks, and scores of masks against them
- ``training``: training of the toy SAM

World axes are metres: x along the street, y to its left, z up.
"""
