"""Looking at graphs: listings, pictures, formulas, costs, reports."""

from graphc.inspect.health.gradients import GradientReport as GradientReport
from graphc.inspect.health.gradients import gradient_norms as gradient_norms
from graphc.inspect.pictures.draw import draw as draw
from graphc.inspect.pictures.draw import expr_svg as expr_svg
from graphc.inspect.pictures.spy import sparse_svg as sparse_svg
from graphc.inspect.tables.cost import cost as cost
from graphc.inspect.tables.cost import gradient_cost_ratio as gradient_cost_ratio
from graphc.inspect.tables.report import Report as Report
from graphc.inspect.tables.sweep import Sweep as Sweep
from graphc.inspect.tables.sweep import sweep as sweep
from graphc.inspect.tables.swell import Swell as Swell
from graphc.inspect.tables.swell import swell as swell
from graphc.inspect.text.formula import formula as formula
from graphc.inspect.text.latex import expr_latex as expr_latex
from graphc.inspect.text.latex import to_latex as to_latex
from graphc.inspect.text.listing import show as show
from graphc.inspect.text.listing import show_program as show_program
