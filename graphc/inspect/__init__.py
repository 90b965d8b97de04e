"""Looking at graphs: listings, pictures, formulas, costs, reports."""

from graphc.inspect.cost import cost as cost
from graphc.inspect.cost import gradient_cost_ratio as gradient_cost_ratio
from graphc.inspect.draw import draw as draw
from graphc.inspect.draw import expr_svg as expr_svg
from graphc.inspect.formula import formula as formula
from graphc.inspect.gradients import GradientReport as GradientReport
from graphc.inspect.gradients import gradient_norms as gradient_norms
from graphc.inspect.latex import expr_latex as expr_latex
from graphc.inspect.latex import to_latex as to_latex
from graphc.inspect.report import Report as Report
from graphc.inspect.spy import sparse_svg as sparse_svg
from graphc.inspect.sweep import Sweep as Sweep
from graphc.inspect.sweep import sweep as sweep
from graphc.inspect.swell import Swell as Swell
from graphc.inspect.swell import swell as swell
from graphc.inspect.text import show as show
from graphc.inspect.text import show_program as show_program
