"""Looking at graphs: listings, pictures, formulas, costs, reports."""

from graphc.inspect.text import show as show
