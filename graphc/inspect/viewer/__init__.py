"""A page that shows a graph and its gradient: what they are, where they come from, values."""

from graphc.inspect.viewer.page import page as page
