"""Pages, tables and plots of training results. Imports neither torch nor transformers."""

from stepcoder_trl.reports.html import rollouts_page
from stepcoder_trl.reports.rollouts import RolloutView, TokenKind


__all__ = ["RolloutView", "TokenKind", "rollouts_page"]
