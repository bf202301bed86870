"""Reads of feedback and its sums, always for somebody."""

from feedback.queries.evidence import PromotionEvidence, promotion_evidence
from feedback.queries.rows import (
    Filter,
    categories_of,
    feedback_of,
    get_answer,
    get_feedback,
    get_link,
    get_reviewer,
    links_of,
    queue_of,
    reviewers_of,
)
from feedback.queries.sums import Period, Summary, Wanted, analytics, as_of, cohorts, compare, trend, trends

__all__ = [
    "Filter",
    "Period",
    "PromotionEvidence",
    "Summary",
    "Wanted",
    "analytics",
    "as_of",
    "categories_of",
    "cohorts",
    "compare",
    "feedback_of",
    "get_answer",
    "get_feedback",
    "get_link",
    "get_reviewer",
    "links_of",
    "promotion_evidence",
    "queue_of",
    "reviewers_of",
    "trend",
    "trends",
]
