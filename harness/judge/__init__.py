"""What happened to a cell, computed from evidence alone; start from `judge_cell`.

`judge_cell` combines the judgements of a cell's hops (`judge_hop`); a failing hop gets its cause from `classify`,
whose table of messages is data (`patterns.yaml`); `signature` makes equal problems equal. Everything here is
pure: the same evidence gives the same answer, so an old run can be judged again.
"""

from harness.judge.cell import judge_cell
from harness.judge.classify import classify
from harness.judge.hop import HopJudgement, judge_hop
from harness.judge.signature import signature

__all__ = ["HopJudgement", "classify", "judge_cell", "judge_hop", "signature"]
