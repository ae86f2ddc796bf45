"""Makes pages for people: each is one self-contained HTML file, which loads nothing and runs only its own script."""

from detector.common.pages.charts import Columns, Curve, Row, columns, curve, rows
from detector.common.pages.gallery import Box, Figure, Group, drawn_first
from detector.common.pages.render import colour_class, render_template
from detector.common.pages.thumbnail import LARGEST_SIDE, jpeg_uri, thumbnail

__all__ = [
    "LARGEST_SIDE",
    "Box",
    "Columns",
    "Curve",
    "Figure",
    "Group",
    "Row",
    "colour_class",
    "columns",
    "curve",
    "drawn_first",
    "jpeg_uri",
    "render_template",
    "rows",
    "thumbnail",
]
