"""Looking at graphs: listings, pictures, formulas, costs, reports."""

from graphc.inspect.draw import draw as draw
from graphc.inspect.text import show as show
from graphc.inspect.text import show_program as show_program
